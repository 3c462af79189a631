"""The allocator of a worker's process, set so that memory which nobody uses goes back to the system.

glibc maps a large block by itself and unmaps it when it is freed; but the size from which it does grows with each
such block, to 32 MB, and smaller ones come from a heap that only shrinks from its end. A worker that makes arrays
of all sizes every second fills that heap for ten minutes (docs/performance.md). A size that is set stays. It is no
setting for who fills large arrays all the time, as roll up and the lake do: a page that is mapped anew is cleared anew.
"""

from __future__ import annotations

import ctypes

MAPPED_FROM_BYTES = 262_144
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def give_back_what_is_free() -> bool:
    """Let blocks from MAPPED_FROM_BYTES on be mapped alone; return False where the C library has no such size."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # macOS, musl
        return False
    return all(mallopt(option, MAPPED_FROM_BYTES) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
