"""The allocator of a worker's process, set so that memory which nobody uses goes back to the system, or stays.

glibc maps a large block by itself and unmaps it when it is freed; but the size from which it does grows with each
such block, to 32 MB, and smaller ones come from a heap that only shrinks from its end. A worker that makes arrays
of all sizes every second fills that heap for ten minutes (docs/performance.md). A size that is set stays. It is no
setting for who fills large arrays all the time, as roll up and the lake do: a page that is mapped anew is cleared anew.
The lake writer keeps what it needs again ten seconds later: a fifth of a flush went into pages that were mapped anew.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

MAPPED_FROM_BYTES = 262_144
KEPT_BYTES = 536_870_912
_MAPPED_AT_MOST_FROM_BYTES = 33_554_432
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def give_back_what_is_free() -> bool:
    """Let blocks from MAPPED_FROM_BYTES on be mapped alone; return False where the C library has no such size."""
    return _set({_M_MMAP_THRESHOLD: MAPPED_FROM_BYTES, _M_TRIM_THRESHOLD: MAPPED_FROM_BYTES})


def keep_what_is_free() -> bool:
    """Let up to KEPT_BYTES that are free stay, in one heap for all threads; return False where nothing can be set.

    Call it before the process has threads, and let Arrow use the same heap (`pa.system_memory_pool()`).
    """
    return _set({_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _MAPPED_AT_MOST_FROM_BYTES, _M_TRIM_THRESHOLD: KEPT_BYTES})


def _set(options: Mapping[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # macOS, musl
        return False
    return all(mallopt(option, value) for option, value in options.items())
