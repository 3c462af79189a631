"""SQL over HTTP as a person, a program and a page of somebody else's send it, through real cages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from sinks.sandbox.limits import MEGABYTE, Limits
from tests.sql.test_views import append, gpu_row
from tests.web.states import NOW, STARTED
from web import tokens
from web.app import make_app
from web.asking import Asking
from web.audit import Audit
from web.state import State
from web.tokens import TokenFile

HERE = "http://127.0.0.1:8420"
SMALL = Limits(wall_secs=20.0, memory_bytes=700 * MEGABYTE, rows=1_000, answer_bytes=MEGABYTE)


class Served:
    """The app with a lake of two readings, and tokens of a reader and of a viewer."""

    def __init__(self, folder: Path) -> None:
        lake = folder / "lake"
        append(lake, "gpu", gpu_row(), gpu_row(gpu=4, power_deciwatts=8000))
        file = folder / "tokens"
        self.anna, self.omar = tokens.add(file, "anna", "sql"), tokens.add(file, "omar", "view")
        self.audit = folder / "audit.jsonl"
        self.asking = Asking(lake, TokenFile(file), Audit(self.audit), SMALL)
        self.client = TestClient(make_app(State(STARTED), lambda: NOW, self.asking), base_url=HERE)

    def ask(self, query: str, **headers: str) -> object:
        return self.client.post("/api/sql", content=query, headers={**self.bearer, **headers})

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.anna}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("served"))
    with served.client:
        yield served


@pytest.fixture(autouse=True)
def no_rate(served: Served) -> None:
    served.asking.rate._buckets.clear()


def test_json_has_columns_with_types_rows_and_what_was_cut(served: Served) -> None:
    answer = served.client.get("/api/sql", params={"query": "FROM gpu SELECT gpu, power_watts"}, headers=served.bearer)
    said = answer.json()
    assert answer.status_code == 200, said
    assert said["columns"] == [{"name": "gpu", "type": "int32"}, {"name": "power_watts", "type": "double"}]
    assert sorted(said["rows"]) == [[3, 700.0], [4, 800.0]]
    assert said["truncated"] is False
    assert said["row_count"] == 2
    assert said["elapsed_seconds"] > 0
    assert said["snapshot"]["taken"].endswith("Z")


@pytest.mark.parametrize(("how", "form"), [("format", "csv"), ("accept", "text/csv")])
def test_csv_has_no_formulas_and_numbers_stay_numbers(served: Served, how: str, form: str) -> None:
    query = (
        "SELECT '=1+1' AS \"=cmd\", '+a' AS b, '-a' AS c, '@a' AS d, chr(9) || 'a' AS e, chr(13) || 'a' AS f, "
        "-1 AS g, '-1.5e3' AS h, 'a=b' AS i, NULL AS j, -2.5::DECIMAL(4, 1) AS k, 'a' || chr(13) || '=1+1' AS l"
    )
    headers = {**served.bearer, **({"accept": form} if how == "accept" else {})}
    where = "/api/sql" + (f"?format={form}" if how == "format" else "")
    answer = served.client.post(where, content=query, headers=headers)
    head, row = csv.reader(io.StringIO(answer.text, newline=""))
    assert head[0] == "'=cmd"
    assert row[:11] == ["'=1+1", "'+a", "'-a", "'@a", "'\ta", "'\ra", "-1", "-1.5e3", "a=b", "", "-2.5"]
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("rows", "truncated"), [(1_000, False), (1_001, True)])
def test_rows_past_the_cap_are_cut_and_every_format_says_so(served: Served, rows: int, truncated: bool) -> None:
    query = f"SELECT range AS n FROM range({rows}) ORDER BY n"
    told = {form: served.client.post(f"/api/sql?format={form}", content=query, headers=served.bearer)
            for form in ("json", "csv", "arrow", "parquet")}  # fmt: skip
    assert {answer.headers["wattline-truncated"] for answer in told.values()} == {str(truncated).lower()}
    assert told["json"].json()["truncated"] is truncated
    arrow = pa.ipc.open_stream(told["arrow"].content).read_all()
    parquet = pq.read_table(io.BytesIO(told["parquet"].content))
    for table in (arrow, parquet):
        assert table.schema.metadata[b"wattline.truncated"] == str(truncated).lower().encode()
        assert table["n"].to_pylist() == list(range(1_000))
    assert len(told["csv"].text.splitlines()) == 1_001


def test_an_answer_of_long_rows_is_cut_by_bytes(served: Served) -> None:
    answer = served.ask("SELECT repeat('x', 100_000) AS x FROM range(100)")
    assert answer.json()["truncated"] is True
    assert 5 <= answer.json()["row_count"] <= 10
    one = served.ask("SELECT repeat('x', 5_000_000) AS x")
    assert one.json()["row_count"] == 0
    assert one.json()["truncated"] is True


def test_since_and_until_bound_the_times(served: Served) -> None:
    query = {"query": "SELECT count(*) FROM gpu"}
    for bounds, count in (({"since": "2026-03-01T12:00:00Z"}, 2), ({"until": "2026-03-01T15:00:00+03:00"}, 0)):
        answer = served.client.post("/api/sql", json={**query, **bounds}, headers=served.bearer)
        assert answer.json()["rows"] == [[count]], bounds


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("SELECT * FROM gpus", 400, "gpus does not exist"),
        ("SELEC 1", 400, "syntax error"),
        ("COPY gpu TO '/tmp/x'", 400, "read-only"),
        ("SELECT 1; SELECT 2", 400, "2 statements"),
        ("SELECT length(repeat('x', 4_000_000_000))", 413, "more than 700 MB of memory"),
        ("SELECT TIMESTAMP '290000-01-01' AS far", 400, "cast it with ::VARCHAR"),
        ("", 400, "no query"),
        ("SELECT '" + "x" * 300_000 + "'", 413, "at most 256 kB"),
    ],
)
def test_what_is_refused_says_why_and_with_which_status(served: Served, query: str, status: int, words: str) -> None:
    answer = served.ask(query)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"query": "FROM sites", "format": "xml"}, "json, csv, arrow, parquet"),
        ({"query": "FROM sites", "since": "yesterday"}, "since=yesterday"),
        ({"query": "FROM sites", "sql": "1"}, "'sql' is not known"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(served: Served, parameters: dict[str, str], words: str) -> None:
    answer = served.client.get("/api/sql", params=parameters, headers=served.bearer)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_who_has_no_token_no_known_one_or_another_role_is_told_what_to_do(served: Served) -> None:
    for sent, status in (("", 401), ("Bearer nobody", 401), (f"Basic {served.anna}", 401),
                         (f"Bearer {served.omar}", 403)):  # fmt: skip
        answer = served.client.post("/api/sql", content="FROM sites", headers={"authorization": sent})
        assert answer.status_code == status, sent
        assert "wattline token add NAME --role sql" in answer.json()["error"]
        assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_token_in_the_address_is_none(served: Served) -> None:
    answer = served.client.get("/api/sql", params={"query": "FROM sites", "token": served.anna})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "sent",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "null"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_a_page_of_another_site_is_refused_even_with_a_token(served: Served, sent: dict[str, str]) -> None:
    answer = served.ask("FROM sites", **sent)
    assert answer.status_code == 403
    assert "another site" in answer.json()["error"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("sent", [{"sec-fetch-site": "same-origin", "origin": HERE}, {"sec-fetch-site": "none"}])
def test_our_own_page_may_ask(served: Served, sent: dict[str, str]) -> None:
    assert served.ask("FROM sites", **sent).status_code == 200


def test_a_query_comes_as_text_as_json_as_a_form_or_in_the_address(served: Served) -> None:
    query = "SELECT '100 % & more' AS a"
    sent = [
        {"content": query}, {"json": {"query": query}}, {"data": {"query": query}}, {"params": {"query": query}},
    ]  # fmt: skip
    for each in sent:
        answer = served.client.post("/api/sql", headers=served.bearer, **each)
        assert answer.json().get("rows") == [["100 % & more"]], (each, answer.text)


def test_another_host_name_is_refused(served: Served) -> None:
    assert served.ask("FROM sites", host="evil.example").status_code == 400


def test_who_asks_too_often_is_told_when_to_come_again(served: Served) -> None:
    answers = [served.client.get("/api/sql", params={"format": "xml"}, headers=served.bearer) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [400] * 20 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_the_audit_says_who_asked_what_and_never_with_which_token(served: Served) -> None:
    served.ask("SELECT 'the audited'")
    text = served.audit.read_text()
    last = json.loads(text.splitlines()[-1])
    assert (last["name"], last["did"], last["query"], last["status"]) == ("anna", "sql", "SELECT 'the audited'", 200)
    assert served.anna not in text


def test_metrics_count_queries_by_how_they_ended(served: Served) -> None:
    served.ask("FROM nothing")
    text = served.client.get("/metrics").text
    assert 'wattline_sql_queries_total{reason="too_slow"} 0.0' in text
    assert 'wattline_sql_queries_total{reason="refused"}' in text
    assert "wattline_sql_running 0.0" in text


def test_without_any_token_nobody_is_let_in(tmp_path: Path) -> None:
    asking = Asking(tmp_path, TokenFile(tmp_path / "none"), Audit(tmp_path / "audit.jsonl"))
    with TestClient(make_app(State(STARTED), lambda: NOW, asking), base_url=HERE) as client:
        answer = client.get("/api/sql", params={"query": "FROM sites"})
    assert answer.status_code == 401
    assert "make one with `wattline token add NAME --role sql`" in answer.json()["error"]


def test_where_a_cage_cannot_be_sql_is_off_and_says_why_and_the_rest_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.sandbox.landlock.abi", lambda: 0)
    monkeypatch.setattr("sinks.sandbox.seccomp.is_there", lambda: False)
    token = tokens.add(tmp_path / "tokens", "anna", "sql")
    asking = Asking(tmp_path, TokenFile(tmp_path / "tokens"), Audit(tmp_path / "audit.jsonl"))
    with TestClient(make_app(State(STARTED), lambda: NOW, asking), base_url=HERE) as client:
        answer = client.get("/api/sql", params={"query": "SELECT 1"}, headers={"authorization": f"Bearer {token}"})
        assert client.get("/metrics").status_code == 200
    assert answer.status_code == 503
    assert "no Landlock" in answer.json()["error"]
    assert "apt-get install libseccomp2" in answer.json()["error"]


def test_a_file_of_the_lake_that_is_cut_is_named_and_nothing_is_answered_from_the_rest(tmp_path: Path) -> None:
    served = Served(tmp_path)
    file = next((tmp_path / "lake" / "gpu").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    with served.client:
        answer = served.ask("SELECT count(power_watts) AS n FROM gpu")
    assert answer.status_code == 500
    assert str(file) in answer.json()["error"]
