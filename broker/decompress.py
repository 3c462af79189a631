"""Decompression with an end: a record batch that expands past MAX_BATCH_BYTES is an error, not the end of memory.

aiokafka decompresses a whole batch before anybody can look at it, and a megabyte of zstd may hold gigabytes.
These functions take the place of its own (broker.batches.install puts them there). Each expands into one
scratch area of fixed size, so no batch can take more than that, whatever it claims; a small frame of zstd, which
is what nearly all batches are, by a context that is kept: a new one costs 20 µs, twice as much as the frame.
"""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Callable

import cramjam
import zstandard

MAX_BATCH_BYTES = 67_108_864
"""What one record batch may expand to: as much as the largest message that any topic takes."""

_KEEP_BYTES = 4_194_304
"""Scratch beyond this is given back to the system after use."""

_SMALL_BYTES = 1_048_576
"""What zstd is given to expand into at once where a frame does not say its size."""

_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_BLOCK = struct.Struct(">i")
_own = threading.local()


class BatchTooLargeError(Exception):
    """Report a batch that expands to more than MAX_BATCH_BYTES."""


def zstd_decode(payload: bytes) -> bytes:
    """Return what a zstd payload expands to; BatchTooLargeError past MAX_BATCH_BYTES."""
    try:
        if zstandard.frame_content_size(payload) <= MAX_BATCH_BYTES:
            return _zstd_context().decompress(payload, max_output_size=_SMALL_BYTES, allow_extra_data=False)
    except zstandard.ZstdError:  # damaged, larger than it may be, or of several frames: the general way says which
        pass
    return _expand(cramjam.zstd.decompress_into, payload)


def gzip_decode(payload: bytes) -> bytes:
    """Return what a gzip payload expands to; BatchTooLargeError past MAX_BATCH_BYTES."""
    return _expand(cramjam.gzip.decompress_into, payload)


def lz4_decode(payload: bytes) -> bytes:
    """Return what an LZ4 frame expands to; BatchTooLargeError past MAX_BATCH_BYTES."""
    return _expand(cramjam.lz4.decompress_into, payload)


def snappy_decode(payload: bytes) -> bytes:
    """Return what a snappy payload, raw or in Java's blocks, expands to; BatchTooLargeError past MAX_BATCH_BYTES."""
    if not payload.startswith(_XERIAL):
        return _expand(cramjam.snappy.decompress_raw_into, payload)
    blocks, total, at = [], 0, _XERIAL_HEADER_BYTES
    while at < len(payload):
        (length,) = _BLOCK.unpack_from(payload, at)
        block = payload[at + _BLOCK.size : at + _BLOCK.size + length]
        if length <= 0 or len(block) != length:
            raise ValueError(f"a snappy block of {length} bytes at {at} does not fit {len(payload)} bytes")
        total += cramjam.snappy.decompress_raw_len(block)
        if total > MAX_BATCH_BYTES:
            raise BatchTooLargeError(f"expands to more than {MAX_BATCH_BYTES} bytes")
        blocks.append(bytes(cramjam.snappy.decompress_raw(block)))
        at += _BLOCK.size + length
    return b"".join(blocks)


def _expand(decompress_into: Callable[[bytes, mmap.mmap], int], payload: bytes) -> bytes:
    scratch = _scratch()
    size = 0
    try:
        size = decompress_into(payload, scratch)
        return scratch[:size]
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error) or "smaller than required" in str(error):
            size = MAX_BATCH_BYTES
            raise BatchTooLargeError(f"expands to more than {MAX_BATCH_BYTES} bytes") from error
        raise
    finally:
        if size > _KEEP_BYTES:
            scratch.madvise(mmap.MADV_DONTNEED)


def _zstd_context() -> zstandard.ZstdDecompressor:
    """Return this thread's context: it may not serve two at once."""
    context: zstandard.ZstdDecompressor | None = getattr(_own, "zstd", None)
    if context is None:
        context = _own.zstd = zstandard.ZstdDecompressor()
    return context


def _scratch() -> mmap.mmap:
    """Return this thread's area; pages that were never written to cost nothing."""
    area: mmap.mmap | None = getattr(_own, "area", None)
    if area is None:
        area = _own.area = mmap.mmap(-1, MAX_BATCH_BYTES)
    return area
