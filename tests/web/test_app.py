"""The app as Prometheus and people ask it: samples, their absence, escaping, and who may ask."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from schemas.errors import ConfigurationError, UnavailableError
from schemas.facility import load
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from tests.web.states import NOW, STARTED, closing, health, heard, sung, window
from wattline.scales import facility_file
from web.app import make_app
from web.asking import Asking
from web.audit import Audit
from web.live import LiveState
from web.metrics import METRICS
from web.process import listening
from web.state import State
from web.tokens import TokenFile

HALL, RACK = "ruh/h1", "ruh/h1/r01/k03"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def facility() -> Registry:
    return assign(load(facility_file("2MW")))


@pytest.fixture
def state(facility: Registry) -> State:
    state = State(STARTED, timedelta(minutes=5), LiveState(facility))
    state.workers.take([heard(health(app)) for app in ("roll-up", "evaluate", "lake")])
    assert state.live is not None
    rows = [
        window(facility, SubjectKind.SITE, "ruh", 900_000.0),
        window(facility, SubjectKind.HALL, HALL, 0.0, reporting=1, power_high_watts=None),
        window(facility, SubjectKind.ROW, "ruh/h1/r01", None),
        window(facility, SubjectKind.RACK, RACK, 118_000.5),
    ]
    state.live.take([closing(*rows), sung(NOW - timedelta(minutes=2))])
    return state


def client(state: State, asking: Asking | None = None) -> TestClient:
    return TestClient(make_app(state, lambda: NOW, asking), base_url="http://127.0.0.1:8420")


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(state: State, path: str = "/metrics") -> Samples:
    answer = client(state).get(path)
    assert answer.status_code == 200
    return samples(answer.text)


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_workers_and_windows_are_samples_with_their_labels(state: State) -> None:
    found = scraped(state)
    power = of(app="roll-up", slot="0", topic="telemetry.power.v1", partition="3")
    assert found["wattline_consumer_lag_seconds", power] == 0.0
    assert found["wattline_rows_total", of(app="evaluate", slot="0", topic="telemetry.power.v1")] == 400
    refused = of(app="roll-up", slot="0", topic="telemetry.power.v1", reason="bad_time")
    assert found["wattline_rejected_rows_total", refused] == 2
    assert found["wattline_worker_last_heard_seconds", of(app="lake", slot="0")] == 2.0
    assert found["wattline_power_watts", of(kind="site", subject="ruh")] == 900_000.0
    assert found["wattline_limit_watts", of(kind="site", subject="ruh", limit="contract")] > 0
    assert found["wattline_data_age_seconds", of(kind="site", subject="ruh")] == 2.5
    assert found["wattline_canary_age_seconds", of()] == pytest.approx(119.96)
    assert found["wattline_canary_delay_seconds", of()] == pytest.approx(0.04)
    assert found["wattline_healthy", of()] == 1.0


def test_zero_is_a_sample_and_missing_is_none(state: State) -> None:
    found = scraped(state)
    hall, row = of(kind="hall", subject=HALL), of(kind="row", subject="ruh/h1/r01")
    assert found["wattline_power_watts", hall] == 0.0
    assert ("wattline_power_high_watts", hall) not in found
    assert ("wattline_power_watts", row) not in found
    assert ("wattline_data_age_seconds", row) not in found
    assert (found["wattline_reporting", row], found["wattline_expected", row]) == (0.0, 2.0)
    assert ("wattline_power_watts", of(kind="site", subject="dmm")) not in found


def test_racks_are_samples_only_for_who_asks(state: State) -> None:
    rack = "wattline_power_watts", of(kind="rack", subject=RACK)
    assert rack not in scraped(state)
    assert scraped(state, "/metrics?racks=1")[rack] == 118_000.5


def test_old_windows_are_no_power_of_now(state: State) -> None:
    app = make_app(state, lambda: NOW + timedelta(seconds=29))
    found = samples(TestClient(app, base_url="http://localhost").get("/metrics").text)
    site = of(kind="site", subject="ruh")
    assert ("wattline_power_watts", site) not in found
    assert found["wattline_data_age_seconds", site] == 31.5


def test_what_a_silent_worker_said_last_is_not_told_as_so_now(state: State) -> None:
    """Fails where its last record stands: the lag of an evaluator that is gone stays 0 for ever."""
    app = make_app(state, lambda: NOW + timedelta(seconds=20))
    found = samples(TestClient(app, base_url="http://localhost").get("/metrics").text)
    slot = {"app": "evaluate", "slot": "0"}
    power = of(**slot, topic="telemetry.power.v1", partition="3")
    assert {name for name, labels in found if labels in {power, of(**slot)}} == {
        "wattline_worker_start_time_seconds", "wattline_worker_last_heard_seconds", "wattline_cpu_seconds_total",
        "wattline_too_late_rows_total", "wattline_unregistered_rows_total",
    }  # fmt: skip
    assert found["wattline_worker_last_heard_seconds", of(**slot)] == 22.0


def test_before_anything_is_known_there_is_no_made_up_value() -> None:
    found = scraped(State(NOW, timedelta(minutes=5)))
    assert {name for name, _ in found} == {"wattline_healthy", "wattline_unreadable_messages_total"}


def test_every_metric_of_the_reference_has_a_sample_and_its_own_type_and_words(state: State, tmp_path: Path) -> None:
    assert state.live is not None
    asking = Asking(tmp_path, TokenFile(tmp_path / "tokens"), Audit(tmp_path / "audit.jsonl"))
    text = client(state, asking).get("/metrics").text
    assert {name for name, _ in samples(text)} == set(METRICS)
    for name, metric in METRICS.items():
        assert f"# HELP {name} {metric.about}" in text
        assert f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}" in text
    labels = {name: {key for key, _ in labels} for name, labels in samples(text)}
    assert labels == {name: set(metric.labels) for name, metric in METRICS.items()}


def test_words_of_others_cannot_forge_a_sample(state: State) -> None:
    evil = 'node"} 0\nwattline_healthy 0\n# \\ {x="'
    state.workers.take([heard(health("roll-up", host=evil, slot=7))])
    found = scraped(state)
    told = of(app="roll-up", slot="7", host=evil, pid="4711", version="0.1.0")
    assert found["wattline_worker_info", told] == 1.0
    assert found["wattline_healthy", of()] == 1.0


def test_prometheus_may_ask_for_open_metrics(state: State) -> None:
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = client(state).get("/metrics", headers={"accept": asked})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    plain = client(state).get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_health_is_200_and_503_with_every_sentence(state: State) -> None:
    well = client(state).get("/health")
    assert (well.status_code, well.json()["ok"], well.json()["problems"]) == (200, True, [])
    assert [worker["app"] for worker in well.json()["workers"]] == ["evaluate", "lake", "roll-up"]
    state.troubles["workers"] = "no broker answers"
    ill = client(state).get("/health")
    assert (ill.status_code, ill.json()["ok"], ill.json()["problems"]) == (
        503,
        False,
        ["workers cannot be heard: no broker answers"],
    )
    assert scraped(state)["wattline_healthy", of()] == 0.0


def test_only_names_of_this_machine_may_be_asked_for_and_only_read(state: State) -> None:
    asked = client(state)
    assert asked.get("/").status_code == asked.head("/health").status_code == 200
    for host in ("evil.example", "wattline.internal:8420", "127.0.0.1.evil.example"):
        assert asked.get("/health", headers={"host": host}).status_code == 400
    assert asked.post("/health").status_code == 405
    assert asked.get("/admin").status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "wattline.internal", ""])
def test_an_address_of_other_machines_is_refused_until_there_are_tokens(host: str) -> None:
    with pytest.raises(ConfigurationError, match="TLS and tokens") as refused, listening(host, 8420):
        pass
    assert refused.value.exit_code == 78


def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with listening("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        said = f"127.0.0.1:{port}: Address already in use; name another port"
        with pytest.raises(UnavailableError, match=said), listening("127.0.0.1", port):
            pass
