"""How each column lies in a Parquet file, as measured on the benchmark campus.

In a flush file what counts is the CPU of writing. A device has ten rows there, so neighbours are hardly alike: words
of values split by the byte shrink most, and what is nearly one value is as small plain as in any encoding, at half the
CPU. In a file of an hour the rows of a device lie by time, and what counts is bytes: differences where neighbours are
near, also of fractions; split bytes where stamps repeat from one GPU of a rack to the next.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

DICTIONARY, PLAIN, SPLIT, DELTA = "dictionary", "PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"

Encodings = Mapping[str, str]
"""Encoding by column; what is not named has that of its type."""

_DICTIONARIES = dict.fromkeys(("encoder_e4", "decoder_e4", "sm_clock_mhz"), DICTIONARY)
_IDS = ("rack", "node", "gpu", "meter", "subject", "_partition", "_row")
_NEARLY_ONE_VALUE = (
    *("instance", "vendor", "model", "averaging", "power_limit_deciwatts", "interval_seconds", "throttle_reasons"),
    *("level", "phase", "quality", "every_seconds", "subject_kind", "power_basis", "energy_method"),
    *("version_admission", "version_facility", "version_generation"),
)

FLUSH_ENCODINGS: Encodings = {
    **_DICTIONARIES,
    **dict.fromkeys(("rack", "node", "meter", "subject", "_partition", *_NEARLY_ONE_VALUE), PLAIN),
    **dict.fromkeys(("gpu", "_row"), DELTA),
}

HOUR_ENCODINGS: Encodings = {
    **_DICTIONARIES,
    **dict.fromkeys(("interval_seconds", "throttle_reasons"), DICTIONARY),
    **dict.fromkeys((*_IDS, "_offset"), DELTA),
    **dict.fromkeys(("power_deciwatts", "power_limit_deciwatts", "utilization_e4", "energy_whole_joules"), DELTA),
}


def encoding_of(field: pa.Field, encodings: Encodings) -> str:
    """Return the encoding of a column: the one named, where its type can have it, else that of its type."""
    is_integer = pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)
    is_number = is_integer or pa.types.is_floating(field.type)
    named = encodings.get(field.name)
    if named is not None and (is_integer if named == DELTA else is_number):
        return named
    is_wide = is_number and field.type.bit_width >= 32
    return SPLIT if is_wide else DICTIONARY
