"""Our own codecs in the place of aiokafka's, wherever it has imported them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

_USERS = (
    "aiokafka.codec",
    "aiokafka.record.default_records",
    "aiokafka.record.legacy_records",
    "aiokafka.record._crecords.default_records",
    "aiokafka.record._crecords.legacy_records",
)


def put_in_place(codecs: Mapping[str, Callable[[bytes], bytes]]) -> None:
    """Let all of aiokafka in this process use these functions for its own of the same names; twice does no harm."""
    for user in _USERS:
        try:
            module = importlib.import_module(user)
        except ImportError:  # a build of aiokafka without its compiled part
            continue
        for name, codec in codecs.items():
            if hasattr(module, name):
                setattr(module, name, codec)
