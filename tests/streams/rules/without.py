"""A rule and its proof: the check holds with the rule, and fails for that reason where the rule is left out.

Each test here swaps one small piece of the product for what one would write without knowing the rule, and
expects the same check to fail with the words that name the damage.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import pytest

Check = Callable[[], None]


def fails_without(place: str, naive: Any, *, says: str) -> Callable[[Check], Check]:
    """Return a decorator: the check must hold, and with `naive` at `place` (`module:name`) fail saying `says`."""
    module_name, _, name = place.partition(":")

    def decorate(check: Check) -> Check:
        @functools.wraps(check)
        def test() -> None:
            check()
            holder: Any = importlib.import_module(module_name)
            *path, attribute = name.split(".")
            for each in path:
                holder = getattr(holder, each)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(holder, attribute, naive)
                with pytest.raises(AssertionError, match=says):
                    check()

        return test

    return decorate


def told(found: object, wanted: object, damage: str) -> None:
    """Assert that what was told is what was wanted; `damage` says what it means where it is not."""
    assert found == wanted, f"{damage}: {found} in place of {wanted}"
