"""Who may ask: a page of this site or a program, with a token of the right role, and not too often."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request

from schemas.errors import WattlineError
from web.tokens import Role, Token, TokenFile, matching

QUERIES_A_MINUTE = 60
AT_ONCE = 20


class RefusedError(WattlineError):
    """Report a request that is not answered: with which status, why, and what to do."""

    def __init__(self, status: int, message: str, *, retry_after_secs: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_secs = retry_after_secs


def refuse_other_sites(request: Request) -> None:
    """Raise RefusedError for what a page of another site sends: a browser says whose page it is.

    `same-site` is another port of this machine, so another's program: refused as well.
    """
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if site not in ("same-origin", "none") or (origin is not None and origin != own):
        raise RefusedError(
            403, f"a page of another site ({origin or site}) cannot ask here; use a program, or the page at {own}"
        )


def identify(request: Request, known: TokenFile, role: Role) -> Token:
    """Return whose token a request carries. Raises RefusedError where that is nobody's, or has another role."""
    tokens = known.tokens()
    make = f"wattline token add NAME --role {role}"
    if not tokens:
        raise RefusedError(401, f"nobody may ask yet, there is no token in {known.path}: make one with `{make}`")
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not presented.strip():
        raise RefusedError(401, f"send a token: `Authorization: Bearer TOKEN`; one is made with `{make}`")
    token = matching(tokens, presented.strip())
    if token is None:
        raise RefusedError(401, f"this token is not known, or was removed; one is made with `{make}`")
    if token.role != role:
        raise RefusedError(403, f"the token of {token.name} has the role {token.role}; this needs {role}: `{make}`")
    return token


class _Bucket(NamedTuple):
    left: float
    at: float


class Rate:
    """Let each name ask so often: AT_ONCE in a burst, then QUERIES_A_MINUTE. Pure but for its clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> None:
        """Count one. Raises RefusedError where it is one too many, with when the next may come."""
        now, every = self._clock(), 60 / QUERIES_A_MINUTE
        bucket = self._buckets.get(name, _Bucket(AT_ONCE, now))
        left = min(AT_ONCE, bucket.left + (now - bucket.at) / every)
        if left < 1:
            wait = (1 - left) * every
            raise RefusedError(
                429,
                f"{name} asks too often: {AT_ONCE} at once and {QUERIES_A_MINUTE} a minute are allowed; "
                f"ask again in {wait:.0f} s",
                retry_after_secs=max(1.0, wait),
            )
        self._buckets[name] = _Bucket(left - 1, now)
