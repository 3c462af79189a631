"""Runs are found by what their logs say, wherever they lie, and keep their place whatever else is replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from sources.recorded import report, site
from sources.recorded.replay import record
from sources.recorded.runs import Found, find
from tests.sources.recorded_logs import analyser_log, job_log, loadgen_log, node_log, write


def training(folder: Path, name: str = "result_7", nodes: int = 3, first: float = 0.0) -> Path:
    """Write a training run as MLPerf lays it out; return its folder of node logs."""
    for node in range(nodes):
        node_log(folder / "power" / name / f"node_{node}.txt", [1000 + node, 2000 + node], first=first)
    job_log(folder / f"{name}.txt", first - 1, first + 5)
    return folder / "power" / name


def inference(folder: Path, first: float = 0.0) -> Path:
    """Write an inference run; return its folder."""
    analyser_log(folder / "run_1" / "spl.txt", [500, 600, 700], first)
    loadgen_log(folder / "run_1" / "mlperf_log_detail.txt", first + 0.5, first + 1.5)
    return folder / "run_1"


def paths(found: Found) -> list[str]:
    return sorted(site.place(run, meter).path for run in found.runs for meter in run.meters)


def recording(found: Found):
    ids = {path: number for number, path in enumerate(paths(found), start=1)}
    return record(found.runs, ids)


def test_a_folder_with_runs_of_both_formats_is_told_apart(tmp_path: Path) -> None:
    training(tmp_path / "a")
    inference(tmp_path / "b", 3600)
    (tmp_path / "README.md").write_text("power_reading is a word here, and so is Time,")
    found = find([tmp_path])
    assert [(run.format, len(run.meters), run.readings) for run in found.runs] == [("mllog", 3, 6), ("ptdaemon", 1, 3)]
    assert found.silent == ()


def test_a_top_folder_one_run_and_one_log_give_a_meter_the_same_place(tmp_path: Path) -> None:
    folder = training(tmp_path / "gpt" / "64x")
    training(tmp_path / "gpt" / "64x", "result_8", first=600)
    everything, run, log = (find([path]) for path in (tmp_path, folder, folder / "node_1.txt"))
    assert set(paths(log)) < set(paths(run)) < set(paths(everything))
    assert len(set(paths(everything))) == 6


def test_two_runs_in_folders_of_the_same_names_never_share_a_meter(tmp_path: Path) -> None:
    for index, system in enumerate(("h100", "h200")):
        inference(tmp_path / system / "model" / "Server" / "performance", 60 * index)
    found = find([tmp_path])
    assert len(found.runs) == 2
    assert len(set(paths(found))) == 2
    assert len({job.job for job in recording(found).jobs}) == 2


def test_the_job_of_a_training_run_comes_from_the_log_named_like_its_folder(tmp_path: Path) -> None:
    training(tmp_path)
    training(tmp_path, "result_8", first=600)
    jobs = recording(find([tmp_path])).jobs
    assert [(job.state, job.workload, (job.ended - job.started).total_seconds()) for job in jobs] == [
        ("completed", "training", 6.0),
        ("completed", "training", 6.0),
    ]
    assert [len(job.measured) for job in jobs] == [3, 3]
    assert {(span.ended - span.started).total_seconds() for span in jobs[0].measured} == {2.0}


def test_a_run_without_a_job_log_takes_its_interval_from_its_meters(tmp_path: Path) -> None:
    node_log(tmp_path / "power" / "node_1.txt", [1, 2, 3])
    (job,) = recording(find([tmp_path])).jobs
    assert ((job.ended - job.started).total_seconds(), job.state) == (4.0, None)


def test_the_job_of_an_inference_run_is_the_power_interval(tmp_path: Path) -> None:
    (job,) = recording(find([inference(tmp_path)])).jobs
    (span,) = job.measured
    assert (span.started, span.ended) == (job.started, job.ended)
    assert (job.ended - job.started).total_seconds() == 1.0
    assert span.meter.startswith(f"{job.site}/")


def test_an_interval_in_which_nothing_was_measured_makes_no_job_and_is_said(tmp_path: Path) -> None:
    loadgen_log(inference(tmp_path) / "mlperf_log_detail.txt", 86_400, 86_410)
    found = find([tmp_path])
    assert recording(found).jobs == ()
    assert any("no job record" in sentence for sentence in report.findings(found, recording(found)))


def test_hundreds_of_nodes_and_a_single_one_become_as_many_racks(tmp_path: Path) -> None:
    training(tmp_path / "many", nodes=300)
    training(tmp_path / "one", nodes=1)
    for folder, nodes in (("many", 300), ("one", 1)):
        found = find([tmp_path / folder])
        names = {site.site_of(run): run.name for run in found.runs}
        facility = site.derive([site.place(run, meter) for run in found.runs for meter in run.meters], names)
        racks = [
            rack for hall in facility.sites[0].halls for row in hall.rows for kind in row.racks for rack in kind.ids
        ]
        assert (len(facility.meters), len(set(racks))) == (nodes, nodes)
        assert {meter.interval_seconds for meter in facility.meters} == {2.0}


def test_empty_logs_and_logs_without_a_reading_are_named(tmp_path: Path) -> None:
    folder = training(tmp_path)
    (folder / "node_8.txt").write_text("")
    write(folder / "sw_0.txt", [':::MLLOG {"key": "interconnect_power_est", "time_ms": 1, "value": 59570}'])
    found = find([tmp_path])
    assert [sentence.removeprefix(f"{folder}/") for sentence in report.complaints(found)] == [
        "node_8.txt: the file is empty, no reading",
        "sw_0.txt: no reading in it (1 × interconnect_power_est)",
    ]
    assert "left out: 1 × interconnect_power_est: not a reading" in report.findings(found, recording(found))


def test_lines_that_cannot_be_read_are_named_by_file_and_line_and_a_flood_is_counted(tmp_path: Path) -> None:
    path = node_log(tmp_path / "node_1.txt", [1, 2])
    path.write_text(path.read_text() + "noise\n" * 1000)
    complaints = list(report.complaints(find([tmp_path])))
    assert complaints[0] == f"{path}:5: no :::MLLOG in it; left out"
    assert complaints[-1] == f"{path}:1004: and 980 further lines up to here; left out"
    assert len(complaints) == 21


def test_readings_with_one_identity_are_said(tmp_path: Path) -> None:
    node_log(tmp_path / "node_1.txt", [1, 2, 3], every=0.0)
    found = find([tmp_path])
    assert recording(found).repeated == 2
    assert any("2 rows share meter and time" in sentence for sentence in report.findings(found, recording(found)))


@pytest.mark.parametrize(("name", "readings"), [("ptdaemon", 3), ("mllog", 0)])
def test_a_format_may_be_forced_upon_a_file(tmp_path: Path, name: str, readings: int) -> None:
    path = analyser_log(tmp_path / "spl.txt", [1, 2, 3])
    assert sum(run.readings for run in find([path], name).runs) == readings


def test_nothing_found_is_one_sentence_with_the_formats_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(ConfigurationError, match=r"no recorded log at or below .* ptdaemon = .* mllog = .* --format"):
        find([tmp_path])
    with pytest.raises(ConfigurationError, match="does not exist"):
        find([tmp_path / "absent"])


DAMAGE = st.tuples(st.floats(0, 1), st.floats(0, 0.2), st.binary(max_size=40))
"""Where in a file, how much of it is cut out, and what is put there."""


@settings(max_examples=60, deadline=None)
@given(st.lists(DAMAGE, min_size=1, max_size=4))
def test_no_damage_to_a_log_stops_the_rest(tmp_path_factory: pytest.TempPathFactory, damages) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    intact = node_log(folder / "train" / "node_1.txt", [1, 2, 3])
    analyser_log(folder / "infer" / "spl.txt", [4, 5, 6])
    for path in (node_log(folder / "train" / "node_2.txt", [7] * 9), analyser_log(folder / "b" / "spl.txt", [8] * 9)):
        contents = path.read_bytes()
        for place, length, insert in damages:
            start = int(place * len(contents))
            contents = contents[:start] + insert + contents[start + int(length * len(contents)) :]
        path.write_bytes(contents)
    found = find([folder])
    kept = recording(found).readings["power_watts"].to_list()
    assert {1, 2, 3, 4, 5, 6} <= set(kept)
    assert intact not in {log.path for log in found.files if log.unread}
    assert list(report.findings(found, recording(found)))
