"""Every error that Wattline raises on purpose.

WattlineError
├── ConfigurationError        yours to fix: a file, an option, an environment; exit code 78
│   └── SetupError            something that set-up should have brought is missing or damaged
├── UnavailableError          a broker, a disk, a target is away; try again after `retry_after_secs`
├── DataLossError             a log or a table no longer holds what its reader needs; hands are needed
└── RejectedRecordError       one message or row is not admissible; `reason` is one of `REASONS`

A message says what failed, where (file, path, topic/partition/offset), the value seen, what is
allowed and the next step.
"""

from __future__ import annotations


class WattlineError(Exception):
    """Stand above every error that Wattline raises on purpose."""

    exit_code = 1


class ConfigurationError(WattlineError):
    """Report what the user has to fix in a file, an option or the environment."""

    exit_code = 78


class SetupError(ConfigurationError):
    """Report something that set-up should have brought and that is missing or damaged."""


class UnavailableError(WattlineError):
    """Report a part that is away for now."""

    def __init__(self, message: str, *, retry_after_secs: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_secs = retry_after_secs


class DataLossError(WattlineError):
    """Report that a log or a table no longer holds what its reader needs."""


class RejectedRecordError(WattlineError):
    """Report one message or row that admission refuses."""

    def __init__(self, reason: str, message: str, *, field: str | None = None, value: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.value = value
