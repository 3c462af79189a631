"""Jobs and what they produced: JSON on `telemetry.jobs.v1` (compacted by job) and `telemetry.progress.v1`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import md5
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import polars as pl

from schemas.admission_rules import EARLIEST, LATEST
from schemas.errors import RejectedRecordError
from schemas.json_lines import explained, numbered_lines, refuse_twice
from schemas.message import Message
from schemas.place import NoPlaces, Places, id_of_place
from schemas.printable import printable_bytes
from schemas.refused_batch import batch_refusal
from schemas.rejection import Refusal, refused_frame, with_raw
from schemas.subject import SubjectKind
from schemas.time import moment, parse_time
from schemas.topics import BY_NAME

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""The name of a job, site, user or account: 1 to 128 characters, no control characters."""

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Slot = Annotated[int, msgspec.Meta(ge=0, le=1023)]
Watts = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone; JSON carries ISO 8601, and whole µs since 1970 UTC are read too."""

Workload = Literal["training", "image", "video", "interactive", "other"]

_TIMES = frozenset({"submitted", "started", "ended", "time"})

PathOrId = int | str
"""A place or device: a path as sent, a registry id once decoded."""


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Give a job the GPUs `gpu_first` to `gpu_last`, both included, of one node; both None = all of the node.

    It holds in `[started, ended)`; None = as the job says. A job that was requeued lists what it had before
    with the times of that interval, and what it has now. Once decoded `node` is the registry's id (negative
    where unregistered) and `path` the node's path, None where an id was sent that the registry does not know.
    """

    node: PathOrId
    gpu_first: Slot | None = None
    gpu_last: Slot | None = None
    path: str | None = None
    started: Moment | None = None
    ended: Moment | None = None


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Say that a meter measured for the job in `[started, ended]`, from its own start to its own stop marker.

    Once decoded `meter` is the registry's id and `path` its path, as in Allocation.
    """

    meter: PathOrId
    started: Moment
    ended: Moment
    path: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Describe one job as last heard; a later record of the same job amends it. None = not said."""

    job: Name
    site: Name
    user: Name | None = None
    account: Name | None = None
    workload: Workload | None = None
    state: Word | None = None
    submitted: Moment | None = None
    started: Moment | None = None
    ended: Moment | None = None
    priority: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    floor_watts: Watts | None = None
    allocations: list[Allocation] = []
    measured: list[Measured] = []


class Progress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Say how much a job had produced at `time`, as counters since its start. None = not counted."""

    time: Moment
    job: Name
    images: Count | None = None
    video_seconds: Seconds | None = None
    tokens: Count | None = None
    steps: Count | None = None


def job_path(site: str, job: str) -> str:
    """Return the path by which people name a job: `site/job`."""
    return f"{site}/{job}"


def job_subject(site: str, job: str) -> int:
    """Return the number by which windows name a job: 31 bits of the MD5 of its path.

    The same in DuckDB: `(md5_number_lower(site || '/' || job) & 2147483647)::INTEGER`. Of 100,000 jobs some pair
    shares a number; of those that run at once hardly ever one does.
    """
    digest = md5(job_path(site, job).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little") & 0x7FFFFFFF


def encode(record: Job | Progress) -> bytes:
    """Return one record as JSON; the Kafka key of both is the job's name."""
    return msgspec.json.encode(record)


Record = TypeVar("Record", Job, Progress)


class Placed(NamedTuple, Generic[Record]):
    """Carry one decoded record with the message and the line (from 0) that it stood in."""

    message: Message
    row: int
    record: Record


class DecodedRecords(NamedTuple, Generic[Record]):
    """Carry the records that could be read, in the order of messages, and the refusals (frame of REJECTED)."""

    records: list[Placed[Record]]
    refused: pl.DataFrame


def decode_jobs(messages: Sequence[Message], registry: Places | None) -> DecodedRecords[Job]:
    """Decode `telemetry.jobs.v1`: one object or JSON lines, the message's key being the job of each.

    A message without a value is a tombstone: no record and no refusal. Nothing in a message raises. Pure.
    """
    valued = [message for message in messages if message.value is not None]
    return _decode(Job, valued, lambda job, message: _resolved(job, message, registry or NoPlaces()))


def decode_progress(messages: Sequence[Message]) -> DecodedRecords[Progress]:
    """Decode `telemetry.progress.v1` as decode_jobs does; any key will do, and a tombstone is refused as empty."""
    return _decode(Progress, messages, lambda progress, message: progress)


def _decode(
    kind: type[Record], messages: Sequence[Message], complete: Callable[[Record, Message], Record]
) -> DecodedRecords[Record]:
    records: list[Placed[Record]] = []
    refusals: list[Refusal] = []
    for message in messages:
        if refused := batch_refusal(message):
            refusals.append(refused)
            continue
        for number, line in numbered_lines(message, _max_decoded_bytes(message.topic), refusals):
            try:
                records.append(Placed(message, number, complete(_read(kind, line), message)))
            except RejectedRecordError as error:
                refusals.append(Refusal(message, number, error.reason, str(error), error.field, error.value))
    return DecodedRecords(records, with_raw([refused_frame(refusals)], messages))


def _max_decoded_bytes(topic: str) -> int:
    return BY_NAME.get(topic, BY_NAME["telemetry.jobs.v1"]).max_decoded_bytes


def _read(kind: type[Record], line: bytes) -> Record:
    """Return one line as a record; RejectedRecordError says what is wrong with it."""
    try:
        sent = msgspec.json.decode(line)
        record = msgspec.convert(_with_moments(sent, ""), kind)
        refuse_twice(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise explained(kind.__struct_fields__, line, error) from None
    return record


def _with_moments(sent: Any, path: str) -> Any:
    """Return decoded JSON with each time, as text or µs, made a moment; RejectedRecordError names one that is none."""
    if isinstance(sent, list):
        return [_with_moments(item, f"{path}[{index}]") for index, item in enumerate(sent)]
    if not isinstance(sent, dict):
        return sent
    below = {key: (value, f"{path}.{key}".lstrip(".")) for key, value in sent.items()}
    return {
        key: _moment(name, value) if key in _TIMES and type(value) in (str, int) else _with_moments(value, name)
        for key, (value, name) in below.items()
    }


def _moment(field: str, sent: str | int) -> datetime:
    micros = parse_time(field, sent)
    if not EARLIEST <= micros < LATEST:
        said = f"{field} is {sent}; allowed is 2000 to 2100, as ISO 8601 with a zone or in µs since 1970 UTC"
        raise RejectedRecordError("bad_time", said, field=field, value=str(sent))
    return moment(micros)


def _refuse_wrong_key(job: Job, message: Message) -> None:
    """Raise where the key is not the job's name: the topic is compacted by it, and would lose one of two jobs."""
    if message.key is None or message.key != job.job.encode():
        key = "none" if message.key is None else printable_bytes(message.key)
        said = f"the message's key is {key}; the topic is compacted by job, so {job.job!r} is asked for"
        raise RejectedRecordError("wrong_key", said, field="job", value=key)


def _resolved(job: Job, message: Message, places: Places) -> Job:
    """Return the job with ids and paths of its nodes and meters; RejectedRecordError where it cannot be meant."""
    _refuse_wrong_key(job, message)
    _refuse_backwards("ended", job.started, job.ended)
    allocations = []
    for index, part in enumerate(job.allocations):
        node, path = _place(f"allocations[{index}].node", SubjectKind.NODE, part.node, places)
        _refuse_no_range(f"allocations[{index}]", part)
        _refuse_backwards(f"allocations[{index}].ended", part.started, part.ended)
        allocations.append(msgspec.structs.replace(part, node=node, path=path))
    measured = []
    for index, span in enumerate(job.measured):
        meter, path = _place(f"measured[{index}].meter", SubjectKind.METER, span.meter, places)
        _refuse_backwards(f"measured[{index}].ended", span.started, span.ended)
        measured.append(Measured(meter, span.started, span.ended, path))
    return msgspec.structs.replace(job, allocations=allocations, measured=measured)


def _place(field: str, kind: SubjectKind, sent: int | str, places: Places) -> tuple[int, str | None]:
    known, _ = id_of_place(field, kind, sent, places)
    return known, sent if isinstance(sent, str) else places.path_of(kind, known)


def _refuse_no_range(field: str, part: Allocation) -> None:
    """Raise where one end of the range of GPUs is missing, or the last lies below the first."""
    if (part.gpu_first is None) != (part.gpu_last is None):
        missing = f"{field}.gpu_last" if part.gpu_last is None else f"{field}.gpu_first"
        said = f"{missing} is missing; say both ends of the range, or neither for all GPUs of the node"
        raise RejectedRecordError("missing_field", said, field=missing)
    if part.gpu_first is not None and part.gpu_last is not None and part.gpu_last < part.gpu_first:
        said = f"{field}.gpu_last is {part.gpu_last}; it lies below gpu_first {part.gpu_first}"
        raise RejectedRecordError("out_of_range", said, field=f"{field}.gpu_last", value=str(part.gpu_last))


def _refuse_backwards(field: str, started: datetime | None, ended: datetime | None) -> None:
    if started is not None and ended is not None and ended < started:
        said = f"{field} is {ended.isoformat()}; it lies before the start {started.isoformat()}"
        raise RejectedRecordError("bad_time", said, field=field, value=ended.isoformat())
