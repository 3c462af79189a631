"""JSON messages line by line, and what is wrong with a line, in words for a person."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.printable import printable_bytes
from schemas.rejection import WHOLE, Refusal

MAX_LINES = 20_000
"""More lines than this in one message are refused as a whole."""

ARROW = b"\xff\xff\xff\xff"
"""What every Arrow stream begins with, and no JSON."""

_UNFINITE = re.compile(rb'"([A-Za-z_]{1,64})"\s*:\s*([-+]?(?:NaN|Infinity|nan|inf|Inf))\b')
_TOO_LARGE = re.compile(rb'"([A-Za-z_]{1,64})"\s*:\s*([-+]?[0-9.]{1,400}(?:[eE]\+?[0-9]{3,10})?)')
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises; RecursionError is no decode error of its own (traps.md 27)."""


def numbered_lines(message: Message, max_decoded_bytes: int, refusals: list[Refusal]) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 0, line) of a message: one object, however it is broken into lines, or JSON lines.

    Blank lines are counted and skipped. A message that has none, or too many, is added to `refusals`.
    """
    value = (message.value or b"").strip()
    lines = value.count(b"\n") + 1
    if not value:
        refusals.append(Refusal(message, WHOLE, "empty", "the message has no value; a JSON object is asked for"))
    elif len(value) > max_decoded_bytes or lines > MAX_LINES:
        size = f"{len(value)} bytes, {lines} lines"
        said = f"is too large: {size}; at most {max_decoded_bytes} bytes and {MAX_LINES} lines are allowed"
        refusals.append(Refusal(message, WHOLE, "too_large", said, value=size))
    elif value.startswith(ARROW):
        said = "is Arrow under the name of JSON: send the header content-type: application/vnd.apache.arrow.stream"
        refusals.append(Refusal(message, WHOLE, "not_json", said, value=printable_bytes(value)))
    elif lines == 1 or _is_one_object(value):
        yield 0, value
    else:
        for number, line in enumerate((message.value or b"").split(b"\n")):
            if stripped := line.strip():
                yield number, stripped


def _is_one_object(value: bytes) -> bool:
    """Tell whether several lines are one object, printed for the eye."""
    try:
        _OBJECT.decode(value)
    except _FAULTS:
        return False
    return True


def refuse_twice(line: bytes) -> None:
    """Raise RejectedRecordError where an object gives a field twice: which was meant cannot be known."""

    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                shown = printable_bytes(line)
                raise RejectedRecordError("not_json", f"{key!r} is given twice", field=key[:64], value=shown)
            seen.add(key)

    json.loads(line, object_pairs_hook=unique)


def explained(fields: Sequence[str], line: bytes, error: Exception) -> RejectedRecordError:
    """Return what a decoder raised as a reason, a field (one of `fields` or below one) and a sentence."""
    text = str(error)
    shown = printable_bytes(line)
    if isinstance(error, RecursionError):
        return RejectedRecordError("not_json", "nests too deeply to be one object", value=shown)
    if not isinstance(error, msgspec.ValidationError):
        return _malformed(fields, line, text)
    if missing := re.search(r"missing required field `(.*?)`", text):
        field = missing[1]
        return RejectedRecordError("missing_field", f"{field} is missing and always needed", field=field, value=shown)
    if unknown := re.search(r"unknown field `(.*)`", text, re.DOTALL):
        return _unknown(fields, unknown[1])
    if wrong := re.search(r" - at `\$\.([^`]+)`$", text):
        return _wrong_value(wrong[1], line, text[: wrong.start()])
    if "out of range" in text:
        return _too_large(fields, line)
    return RejectedRecordError("not_json", f"is not one JSON object ({text})", value=shown)


def _malformed(fields: Sequence[str], line: bytes, text: str) -> RejectedRecordError:
    shown = printable_bytes(line)
    if found := _UNFINITE.search(line):
        field, value = found[1].decode(), found[2].decode()
        said = f"{field} is {value}; a number or null is allowed"
        return RejectedRecordError("not_a_number", said, field=field if field in fields else None, value=value)
    if line.startswith(b"\xef\xbb\xbf"):
        text = "it begins with a byte order mark: send UTF-8 without one"
    return RejectedRecordError("not_json", f"is not one JSON object ({text})", value=shown)


def _unknown(fields: Sequence[str], name: str) -> RejectedRecordError:
    near = difflib.get_close_matches(name[:64], fields, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(fields)}"
    said = f"{name[:64]!r} is not a field of this record; {hint}"
    return RejectedRecordError("unknown_field", said, field=name[:64], value=name)


def _wrong_value(path: str, line: bytes, text: str) -> RejectedRecordError:
    """Return the refusal of one field that has the wrong type, or does not fit its column."""
    value = _value_of(line, path)
    asked = text.replace("`", "")
    if re.search(r"of length|matching regex", text):
        reason = "bad_path"
    else:
        reason = "out_of_range" if re.search(r"[<>]=|out of range|Invalid enum", text) else "wrong_type"
    return RejectedRecordError(reason, f"{path} is {value}: {asked}", field=path[:64], value=value)


def _too_large(fields: Sequence[str], line: bytes) -> RejectedRecordError:
    """Return the refusal of a number that no double holds; the decoder does not say which field it was."""
    for field, value in _TOO_LARGE.findall(line):
        name = field.decode()
        if name in fields and float(value) == float("inf"):
            said = f"{name} is {printable_bytes(value)}; no number is that large"
            return RejectedRecordError("out_of_range", said, field=name, value=value.decode())
    return RejectedRecordError("out_of_range", "holds a number too large to be one", value=printable_bytes(line))


def _value_of(line: bytes, path: str) -> str:
    """Return the text of one field's value, `path` as in `allocations[0].node`; the line where it cannot be found."""
    outermost, *below = re.findall(r"[^.\[\]]+", path)
    try:
        raw = _OBJECT.decode(line)[outermost]
        value: Any = msgspec.json.decode(raw) if below else None
        for name in below:
            value = value[int(name) if isinstance(value, list) else name]
        return printable_bytes(msgspec.json.encode(value) if below else bytes(raw))
    except (*_FAULTS, LookupError, ValueError, TypeError):
        return printable_bytes(line)
