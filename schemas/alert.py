"""The alert event: one transition of one alert, as JSON on `alerts.v1`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Literal

import msgspec

from schemas.errors import RejectedRecordError
from schemas.message import Message
from schemas.paths import CANARY_SITE

Transition = Literal["pending", "firing", "stale", "keeping", "continued", "resolved", "amended"]
"""What happened to the alert.

pending    the breach began; `for_secs` has yet to pass
firing     the breach has held for `for_secs`: people are told, exactly once an alert
stale      firing, and nothing was heard of the subject for `no_data_after_secs`
keeping    below the clear threshold, firing on until `keep_firing_secs` have passed
continued  above again while keeping, or heard again while stale: the same alert goes on
resolved   over; with `fired` null it was withdrawn before it fired
amended    the lake knows better what was true; `amends` names what is corrected
"""

Basis = Literal["measured", "derived", "estimate"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Evidence(msgspec.Struct, frozen=True):
    """Carry one reading or window that the transition rests on."""

    time: datetime
    value: float | None


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """Name a job that ran on the subject when the breach began; `watts` is null where not measured."""

    job: str
    watts: float | None = None


_ORDER = ("pending", "continued", "firing", "stale", "keeping", "amended", "resolved")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Carry one transition of one alert.

    `id` is the same for all transitions of one breach. `start` is the time of the first reading (or
    the start of the first second) above the threshold, `fired` when it fired, `at` the event time of
    this transition. `value` and `limit` are in `unit` at `at`; a null value means that nothing is known.
    Consumers may see a transition more than once and keep one of each (id, transition, at).
    """

    id: str
    transition: Transition
    rule: str
    rule_version: str
    site: str
    subject_kind: str
    subject: str
    severity: str
    start: datetime
    at: datetime
    fired: datetime | None = None
    value: float | None = None
    limit: float | None = None
    threshold: float | None = None
    unit: Literal["W", "A"] = "W"
    basis: Basis | None = None
    expected: int | None = None
    reporting: int | None = None
    summary: str = ""
    evidence: tuple[Evidence, ...] = ()
    cause: tuple[Cause, ...] = ()
    parent: str | None = None
    amends: str | None = None

    @property
    def identity(self) -> tuple[str, str, datetime]:
        """Return what makes two messages the same transition."""
        return self.id, self.transition, self.at

    def is_after(self, other: Alert) -> bool:
        """Tell whether this transition comes after another one of its alert; of one instant in the only order there is.

        The log may tell old transitions again: after a restart, or from a second group of workers.
        """
        return (self.at, _ORDER.index(self.transition)) > (other.at, _ORDER.index(other.transition))

    @property
    def is_canary(self) -> bool:
        """Tell whether it is the canary's (schemas.canary), which is shown only to who asks for it."""
        return self.site == CANARY_SITE

    @property
    def key(self) -> bytes:
        """Return the Kafka key: rule and subject, so that one partition holds an alert in order."""
        return f"{self.rule} {self.subject}".encode()


def alert_id(rule: str, subject: str, start_microseconds: int) -> str:
    """Return the id of the alert of `rule` on the subject's path that began at `start_microseconds` UTC."""
    words = f"{rule}\0{subject}\0{start_microseconds}".encode()
    return blake2b(words, digest_size=10, person=b"wattline-alert").hexdigest()


def moment(microseconds: int) -> datetime:
    """Return UTC microseconds as a time with its zone, exactly."""
    return _EPOCH + timedelta(microseconds=int(microseconds))


def microseconds(time: datetime) -> int:
    """Return a time with its zone as UTC microseconds, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Alert)


def encode_alert(alert: Alert) -> bytes:
    """Return the JSON of one transition; times are ISO 8601 in UTC."""
    return _ENCODER.encode(alert)


def decode_alert(message: Message) -> Alert:
    """Return the transition in a message of `alerts.v1`.

    Raises RejectedRecordError (`empty`, `not_json`, `wrong_type`) naming the message's place.
    """
    if not message.value:
        raise RejectedRecordError("empty", f"{message.place}: an alert without a value; one JSON object is needed")
    try:
        return _DECODER.decode(message.value)
    except msgspec.ValidationError as error:
        raise RejectedRecordError("wrong_type", f"{message.place}: not an alert: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedRecordError("not_json", f"{message.place}: not the JSON of an alert: {error}") from error
