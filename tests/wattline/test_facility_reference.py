"""Every key of the facility file is explained where it is declared."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from wattline.facility_reference import PLACES, descriptions, facility_page


@pytest.mark.parametrize("model", PLACES.values(), ids=lambda model: model.__name__)
def test_every_key_has_its_line(model: type[BaseModel]) -> None:
    assert descriptions(model).keys() >= model.model_fields.keys()


def test_the_page_says_what_a_key_may_be() -> None:
    page = "\n".join(facility_page())
    assert "| `usable_fraction` | number > 0 ≤ 1 | 0.8 | The share of the rating that the site lets itself use" in page
    assert "| `redundancy` | `n`, `n+1`, `2n` | needed | n: all units are needed;" in page
    assert "| `meters` | list of text | a, b | Its rack_input meters by name;" in page
