"""Make text of others safe to show: what could move a cursor, reorder or hide text is escaped."""

from __future__ import annotations

SHOWN_CHARACTERS = 200
"""The longest value that a refusal or a listing shows."""

_CONTROLS = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x00AD,  # soft hyphen
    0x061C,  # the Arabic letter mark and the marks, embeddings, overrides and isolates of bidi
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xD800, 0xE000),  # lone surrogates: they cannot be encoded at all
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),  # tags: text that no screen shows
)
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS if code < 0x10000}
_ESCAPES |= {code: f"\\U{code:08x}" for code in _CONTROLS if code >= 0x10000}


def printable(text: str, limit: int | None = None) -> str:
    """Return `text` with every control, bidi and invisible character escaped, at most `limit` characters.

    What is cut ends in `…`. Pure; the result holds no line break and can be encoded as UTF-8.
    """
    # The cut comes first as well: a hostile text may be megabytes and its escapes several times that.
    cut = text if limit is None else text[: limit + 1]
    shown = cut.translate(_ESCAPES)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def printable_bytes(value: bytes, limit: int = SHOWN_CHARACTERS) -> str:
    r"""Return the start of `value` as printable text, bytes that are no UTF-8 as `\xNN`."""
    return printable(value[: limit * 4].decode("utf-8", "backslashreplace"), limit)
