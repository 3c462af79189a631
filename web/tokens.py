"""Tokens: who may ask, by name and role. The file keeps only hashes; a token is shown once, when it is made.

A line a token: name, role, SHA-256 of the token, when it was made. A token is 256 random bits: nobody guesses one, so
that a slow hash, which is for passwords that people choose, would cost every request and protect nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from broker.folders import user_folder
from schemas.errors import ConfigurationError

Role = Literal["sql", "view", "operate"]
ROLES: tuple[Role, ...] = get_args(Role)

PREFIX = "wattline_"
"""What a token begins with, so that scanners for secrets find one that was committed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern}) (sql|view|operate) ([0-9a-f]{{64}}) (\S+)")


class Token(NamedTuple):
    """Hold one line: never the token itself."""

    name: str
    role: Role
    digest: str
    made: str


def token_file() -> Path:
    """Return where tokens are kept unless WATTLINE_TOKENS names another file."""
    return Path(os.environ.get("WATTLINE_TOKENS") or user_folder() / "tokens")


def digest(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read(path: Path) -> list[Token]:
    """Return the tokens of a file, none where there is no file.

    Raises ConfigurationError for a line that is none, and for a file that others may write.
    """
    try:
        text, mode = path.read_text(encoding="utf-8"), path.stat().st_mode
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as a file of tokens: {error}") from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(f"{path} may be written by others, who could let themselves in: chmod 600 {path}")
    return [_token(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _token(path: Path, number: int, line: str) -> Token:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ConfigurationError(
            f"{path}:{number} is no token: a line is name, role, hash and time, as `wattline token add` writes it; "
            f"remove the line"
        )
    name, role, hashed, made = match.groups()
    return Token(name, role, hashed, made)  # type: ignore[arg-type]  # the pattern holds the roles


def add(path: Path, name: str, role: Role) -> str:
    """Make a token, keep its hash, and return it: nobody can read it again.

    Raises ConfigurationError for a name that is taken or none.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name of a token: letters, digits and . _ @ -, at most 64, the first a letter or digit"
        )
    token = PREFIX + secrets.token_urlsafe(32)
    with _locked(path):
        known = read(path)
        if any(each.name == name for each in known):
            raise ConfigurationError(f"{path} has a token of {name!r}: wattline token remove {name} first")
        _write(path, [*known, Token(name, role, digest(token), datetime.now(UTC).isoformat(timespec="seconds"))])
    return token


def remove(path: Path, name: str) -> None:
    """Take a token's right away, from the next request on. Raises ConfigurationError for an unknown name."""
    with _locked(path):
        known = read(path)
        if not any(each.name == name for each in known):
            named = ", ".join(each.name for each in known) or "none"
            raise ConfigurationError(f"{path} has no token of {name!r}; there are: {named}")
        _write(path, [each for each in known if each.name != name])


def matching(tokens: list[Token], presented: str) -> Token | None:
    """Return whose token was presented; every line is compared, each in the same time."""
    hashed, found = digest(presented), None
    for each in tokens:
        if hmac.compare_digest(each.digest, hashed):
            found = each
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let nobody else change the file meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, tokens: list[Token]) -> None:
    """Replace the file as a whole, readable by its owner alone."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.writelines(" ".join(token) + "\n" for token in tokens)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)


class TokenFile:
    """Read a file of tokens again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: list[Token] = []

    def tokens(self) -> list[Token]:
        """Return the tokens that are valid now. Raises as `read` does."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_mode)
        except FileNotFoundError:
            stamp = None
        if stamp is None or stamp != self._stamp:
            self._tokens = read(self.path)
            self._stamp = stamp
        return self._tokens
