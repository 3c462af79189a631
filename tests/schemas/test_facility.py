"""The facility file: reading it, spelling it out, and every error at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas import layout
from schemas.errors import ConfigurationError
from schemas.facility import load
from schemas.paths import PathIndex, is_path
from tests.schemas.small_facility import BOX, facility, powered, site
from wattline.scales import FIRST, SCALES, facility_file

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_halo_at_150_mw_has_the_size_that_wattline_is_designed_for() -> None:
    racks = layout.racks(load(facility_file("150MW")))
    nodes = sum(rack.nodes for rack in racks)
    gpus = sum(rack.nodes * rack.gpus_per_node for rack in racks)
    assert (len(racks), nodes, gpus) == (1_337, 12_101, 62_104)
    assert {rack.type for rack in racks} == {"nvl72", "amd-64", "hgx-24"}


@pytest.mark.parametrize("scale", SCALES)
def test_halo_fits_its_contracts_with_cooling_and_fills_them(scale: str) -> None:
    halo = load(facility_file(scale))
    for each in halo.sites:
        drawn = sum(rack.agreed_watts for rack in layout.racks(halo) if rack.path.startswith(each.id)) * 1.15
        assert each.contract_watts is not None
        assert 0.75 * each.contract_watts < drawn <= each.contract_watts


@pytest.mark.parametrize("scale", SCALES)
def test_the_example_is_the_very_file_that_the_wheel_brings(scale: str) -> None:
    assert (EXAMPLES / SCALES[scale]).read_bytes() == facility_file(scale).read_bytes()


def test_a_first_facility_spells_out_ranges_exceptions_and_sides() -> None:
    first = load(FIRST)
    racks = layout.racks(first)
    assert [rack.path for rack in racks[:2]] == ["north/h1/r01/k01", "north/h1/r01/k02"]
    assert (len(racks), racks[0].budget_watts, racks[-1].budget_watts) == (16, 38_000.0, 30_000.0)
    meters = layout.meters(first, racks, layout.feed_racks(first, racks))
    assert [(m.path, m.measures, m.feed) for m in meters[:2]] == [
        ("north/h1/r01/k01/a", "north/h1/r01/k01", "north/h1/r01-a"),
        ("north/h1/r01/k01/b", "north/h1/r01/k01", "north/h1/r01-b"),
    ]


def test_exceptions_take_racks_out_change_their_type_and_add_new_ones() -> None:
    described = facility(
        site({"r01": [{"type": "box", "first": 1, "last": 3}, {"type": "box", "ids": ["core"]}]}),
        rack_types={"box": BOX, "small": BOX | {"nodes": 1}},
        racks={
            "ruh/h1/r01/k01": {"absent": True},
            "ruh/h1/r01/k02": {"type": "small"},
            "ruh/h1/r01/k03": {"nodes": 5, "meters": []},
            "ruh/h1/r01/k99": {"type": "box"},
        },
    )
    spelled = {rack.path.rpartition("/")[2]: (rack.nodes, len(rack.meters)) for rack in layout.racks(described)}
    assert spelled == {"k02": (1, 2), "k03": (5, 0), "core": (2, 2), "k99": (2, 2)}


def test_a_rack_number_keeps_its_path_when_a_row_grows_past_99() -> None:
    grown = facility(site({"r01": {"type": "box", "first": 1, "last": 100}}))
    paths = [rack.path for rack in layout.racks(grown)]
    assert (paths[0], paths[98], paths[99]) == ("ruh/h1/r01/k01", "ruh/h1/r01/k99", "ruh/h1/r01/k100")


def test_a_feed_takes_from_its_type_what_it_does_not_say() -> None:
    described = facility(
        site({}),
        feed_types={"busway": {"rated_amps": 2_500.0, "voltage_volts": 415.0}},
        utilities=[{"id": "ruh/grid"}],
        panels=[{"id": "ruh/panel", "fed_by": "ruh/grid", "rated_amps": 1.0, "voltage_volts": 1.0}],
        feeds=[{"id": "ruh/feed", "fed_by": "ruh/panel", "type": "busway", "usable_fraction": 0.7}],
    )
    breaker = layout.feed_breaker(described, described.feeds[0])
    assert breaker is not None
    assert (breaker.rated_amps, breaker.usable_fraction) == (2_500.0, 0.7)
    assert layout.rated_watts(breaker) == pytest.approx(3**0.5 * 415 * 2_500 * 0.95)


def test_one_unit_of_an_n_plus_1_group_is_not_counted_on() -> None:
    assert layout.ups_watts(powered().ups_groups[0]) == 60_000.0


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("ruh/h1/r01/*", ["ruh/h1/r01/k01", "ruh/h1/r01/k02"]),
        ("ruh/*/r0[12]/k02", ["ruh/h1/r01/k02", "ruh/h1/r02/k02"]),
        ("ruh/h1/*", []),
        ("ruh/h1/r01/k0?", ["ruh/h1/r01/k01", "ruh/h1/r01/k02"]),
        ("*/*/*/*", ["ruh/h1/r01/k01", "ruh/h1/r01/k02", "ruh/h1/r02/k02"]),
    ],
)
def test_a_star_never_crosses_a_segment(glob: str, found: list[str]) -> None:
    assert PathIndex(["ruh/h1/r01/k01", "ruh/h1/r01/k02", "ruh/h1/r02/k02"]).matching(glob) == found


@pytest.mark.parametrize("text", ["", "/", "ruh/", "../etc", "Ruh", "ruh\n", "-a", "a" * 33, "a/b/c/d/e/f/g/h", "r;x"])
def test_what_is_no_path_never_passes_for_one(text: str) -> None:
    assert not is_path(text)
    with pytest.raises(ValueError, match=r"utilities\.0\.id"):
        facility(site({}), utilities=[{"id": text}])


def test_load_names_every_error_in_one_exception(tmp_path: Path) -> None:
    file = tmp_path / "facility.toml"
    file.write_text('schema_version = 2\n[[sites]]\nid = "ruh"\nname = "R"\ntime_zone = "Mars/Olympus"\nwatts = 3\n')
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    words = str(raised.value)
    assert words.startswith("2 errors\n")
    assert "sites[ruh].watts: unknown key 'watts'" in words
    assert "schema_version: 2 is not allowed; allowed: 1" in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a = [", "not TOML"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"a = " + b"[" * 5_000, "nested too deeply"),
        (b"", "the key 'schema_version' is missing"),
        (b"sites = 3\nschema_version = 1", "sites: must be a valid list; seen 3"),
        (b"schema_version = 1\nsites = []", "a facility needs at least one"),
    ],
)
def test_a_file_that_is_no_facility_is_one_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "facility.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert words in str(raised.value)
    assert str(file) in str(raised.value)
