"""Attempts to get out of a cage, made by hand: what they try, and which ends of theirs are allowed.

`{outside}` is a folder that everybody may write, `{lake}` the lake, `{tcp}` and `{udp}` ports that listen, `{unix}` a
socket; nothing may come to any of them, whatever the end is.
"""

from __future__ import annotations

from typing import NamedTuple


class Attempt(NamedTuple):
    """Hold one attempt: its statement or statements, and the ends that are allowed."""

    name: str
    query: str
    ends: tuple[str, ...] = ("refused",)


_ANY = ("answered", "refused")
_MEMORY = ("out_of_memory", "refused")
_BOMB = ("out_of_memory", "too_slow", "refused", "failed", "spilled_too_much")
_ALL = ("answered", *_BOMB)

WRITES = (
    Attempt("copy out", "COPY (SELECT 1) TO '{outside}/evil.csv'"),
    Attempt("copy into the lake", "COPY (SELECT 1) TO '{lake}/evil.parquet' (FORMAT parquet)"),
    Attempt("copy over a file of the lake", "COPY (SELECT 1) TO '{lake}/gpu/_delta_log/00000000000000000000.json'"),
    Attempt("copy by partitions", "COPY (SELECT 1 AS a) TO '{lake}/gpu' (FORMAT parquet, PARTITION_BY (a), OVERWRITE)"),
    Attempt("copy in a WITH", "WITH x AS (COPY (SELECT 1) TO '{lake}/evil.csv') SELECT 1"),
    Attempt("copy in a WITH, materialized", "WITH x AS MATERIALIZED (COPY gpu TO '{lake}/e.csv') FROM x"),
    Attempt("explain analyze copy", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/evil.csv'"),
    Attempt("copy as one of two", "SELECT 1; COPY (SELECT 1) TO '{lake}/evil.csv'; SELECT 2"),
    Attempt("prepared copy", "PREPARE p AS COPY (SELECT 1) TO '{lake}/evil.csv'; EXECUTE p"),
    Attempt("copy to a program", "COPY (SELECT 1) TO PROGRAM 'touch {outside}/evil'"),
    Attempt("copy to a pipe", "COPY (SELECT 1) TO '|touch {outside}/evil'"),
    Attempt("copy to stdout", "COPY (SELECT 1) TO '/dev/stdout'"),
    Attempt("copy to a device", "COPY (SELECT 1) TO '/dev/shm/evil.csv'"),
    Attempt("copy to /tmp", "COPY (SELECT 1) TO '/tmp/wattline-evil.csv'"),
    Attempt("copy through a link", "COPY (SELECT 1) TO '{lake}/linked/evil.csv'"),
    Attempt("copy from outside", "CREATE TEMP TABLE t(a VARCHAR); COPY t FROM '{outside}/secret.csv'; FROM t"),
    Attempt("copy a database", "ATTACH ':memory:' AS m; COPY FROM DATABASE catalog TO m", _ANY),
    Attempt("export", "EXPORT DATABASE '{outside}/export'"),
    Attempt("export into the lake", "EXPORT DATABASE '{lake}/export'"),
    Attempt("import", "IMPORT DATABASE '{outside}'"),
    Attempt("attach a new file", "ATTACH '{outside}/evil.duckdb' AS e; CREATE TABLE e.t AS SELECT 1"),
    Attempt("attach in the lake", "ATTACH '{lake}/evil.duckdb' AS e; CREATE TABLE e.t AS SELECT 1"),
    Attempt("attach a file of the lake", "ATTACH '{lake}/link.csv' AS e (READ_ONLY)"),
    Attempt("attach over the net", "ATTACH 'http://127.0.0.1:{tcp}/a.duckdb' AS e"),
    Attempt("create a table in the catalog", "CREATE TABLE main.evil AS SELECT 1"),
    Attempt("drop a view", "DROP VIEW gpu"),
    Attempt("delete readings", "DELETE FROM gpu"),
    Attempt("log queries to a file", "SET log_query_path = '{outside}/evil.log'; SELECT 1"),
    Attempt(
        "profile into a file", "PRAGMA profiling_output = '{outside}/evil.json'; PRAGMA enable_profiling; SELECT 1"
    ),
    Attempt("log to a file", "CALL enable_logging(storage = 'file', storage_config = {{'path': '{outside}'}})"),
    Attempt("checkpoint", "FORCE CHECKPOINT", _ANY),
    Attempt("a secret on disk", "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')"),
    Attempt("a secret in a folder", "SET secret_directory = '{outside}'; CREATE PERSISTENT SECRET s (TYPE s3)"),
)

READS = (
    Attempt("passwd as text", "SELECT content FROM read_text('/etc/passwd')"),
    Attempt("passwd as bytes", "SELECT content FROM read_blob('/etc/passwd')"),
    Attempt("passwd as CSV", "FROM read_csv('/etc/passwd', header = false)"),
    Attempt("passwd by its name", "FROM '/etc/passwd'"),
    Attempt("shadow", "FROM read_text('/etc/shadow')"),
    Attempt("a foreign CSV", "FROM '{outside}/secret.csv'"),
    Attempt("a link in the lake", "FROM '{lake}/link.csv'"),
    Attempt("a link in the lake to passwd", "FROM read_text('{lake}/passwd')"),
    Attempt("a linked folder in the lake", "FROM read_csv('{lake}/linked/secret.csv')"),
    Attempt("up from the lake", "FROM read_text('{lake}/../outside/secret.csv')"),
    Attempt("up from the lake, long", "FROM read_text('{lake}/gpu/./../../outside/./secret.csv')"),
    Attempt("a file as a URL", "FROM read_text('file:///etc/passwd')"),
    Attempt("a file as a URL with a host", "FROM read_text('file://localhost/etc/passwd')"),
    Attempt("the environment", "FROM read_blob('/proc/self/environ')"),
    Attempt("the environment of the parent", "FROM read_blob('/proc/1/environ')"),
    Attempt("the command line", "FROM read_blob('/proc/self/cmdline')"),
    Attempt("the memory map", "FROM read_text('/proc/self/maps')"),
    Attempt("the memory", "FROM read_blob('/proc/self/mem')"),
    Attempt("the root through /proc", "FROM read_text('/proc/self/root/etc/passwd')"),
    Attempt("a descriptor through /proc", "FROM read_blob('/proc/self/fd/3')"),
    Attempt("a descriptor through /dev", "FROM read_blob('/dev/fd/3')"),
    Attempt("stdin", "FROM read_csv('/dev/stdin')"),
    Attempt("an endless device", "FROM read_blob('/dev/zero')"),
    Attempt("what the kernel says", "FROM read_text('/sys/kernel/notes')"),
    Attempt("getenv", "SELECT getenv('PATH')"),
    Attempt("all files", "FROM glob('/**')", ("answered", "refused", "too_slow")),
    Attempt("homes", "FROM glob('/root/*')", _ANY),
    Attempt("files of the lake", "FROM glob('{lake}/**')", _ANY),
    Attempt("other spill folders", "FROM glob('{lake}/../../*spill*/*')", _ANY),
    Attempt("parquet of elsewhere", "FROM read_parquet('{outside}/*.parquet')"),
    Attempt("JSON of elsewhere", "FROM read_json('{outside}/secret.csv')"),
    Attempt("objects of elsewhere", "FROM read_ndjson_objects('/etc/hostname')"),
    Attempt("metadata of elsewhere", "FROM parquet_metadata('{outside}/secret.csv')"),
    Attempt("sniff", "FROM sniff_csv('/etc/passwd')"),
    Attempt("a variable of Python", "FROM connection"),
    Attempt("another variable of Python", "SELECT * FROM order"),
    Attempt("a lookup by a list", "FROM read_text(['{lake}/passwd', '/etc/passwd'])"),
    Attempt("a macro that reads", "CREATE TEMP MACRO r(p) AS TABLE FROM read_text(p); FROM r('/etc/passwd')"),
    Attempt("a query from text", "FROM query('FROM read_text(''/etc/passwd'')')"),
    Attempt("a table by its name", "FROM query_table('/etc/passwd')"),
    Attempt("where secrets lie", "FROM duckdb_secrets(redact = false)", _ANY),
)

SOCKETS = (
    Attempt("http", "FROM read_text('http://127.0.0.1:{tcp}/x')"),
    Attempt("https", "FROM read_csv('https://127.0.0.1:{tcp}/x.csv')"),
    Attempt("http by a name", "FROM 'http://localhost:{tcp}/x.parquet'"),
    Attempt("s3", "FROM read_parquet('s3://127.0.0.1:{tcp}/bucket/x.parquet')"),
    Attempt("hugging face", "FROM read_parquet('hf://datasets/a/b.parquet')"),
    Attempt("udp by a file", "FROM read_text('/dev/udp/127.0.0.1/{udp}')"),
    Attempt("tcp by a file", "COPY (SELECT 1) TO '/dev/tcp/127.0.0.1/{tcp}'"),
    Attempt("a unix socket", "FROM read_text('{unix}')"),
    Attempt("write to a unix socket", "COPY (SELECT 1) TO '{unix}'"),
    Attempt("install", "INSTALL httpfs"),
    Attempt("install from a community", "INSTALL shellfs FROM community"),
    Attempt("install from a server", "INSTALL x FROM 'http://127.0.0.1:{tcp}'"),
    Attempt("force install from a file", "FORCE INSTALL '{outside}/evil.duckdb_extension'"),
    Attempt("load", "LOAD httpfs"),
    Attempt("load a file", "LOAD '{outside}/evil.duckdb_extension'"),
    Attempt("load a file of the lake", "LOAD '{lake}/linked/evil.duckdb_extension'"),
    Attempt("update extensions", "UPDATE EXTENSIONS", _ANY),
    Attempt("a proxy", "SET http_proxy = '127.0.0.1:{tcp}'; FROM read_text('http://a/b')"),
    Attempt("the shell extension", "FROM read_csv('touch {outside}/evil |')"),
)

SETTINGS = (
    Attempt("unlock", "SET lock_configuration = false"),
    Attempt("let out", "SET enable_external_access = true"),
    Attempt("let out and read", "SET enable_external_access = true; FROM read_text('/etc/passwd')"),
    Attempt("let out by a pragma", "PRAGMA enable_external_access = true"),
    Attempt("let out by reset", "RESET enable_external_access"),
    Attempt("another folder", "SET allowed_directories = ['/']"),
    Attempt("another path", "SET allowed_paths = ['/etc/passwd']"),
    Attempt("more memory", "SET memory_limit = '100GB'"),
    Attempt("more memory, globally", "SET GLOBAL max_memory = '100GB'"),
    Attempt("more threads", "SET threads = 4000"),
    Attempt("another spill folder", "SET temp_directory = '{outside}'"),
    Attempt("unsigned extensions", "SET allow_unsigned_extensions = true"),
    Attempt("variables of Python", "SET python_enable_replacements = true"),
    Attempt("a setting by a function", "SELECT set_config('lock_configuration', 'false', false)"),
    Attempt("deeper expressions", "SET max_expression_depth = 1000000"),
)

BOMBS = (
    Attempt("one long text", "SELECT length(repeat('x', 4_000_000_000))", _MEMORY),
    Attempt("one long text, in two steps", "SELECT length(repeat(repeat('x', 1_000_000), 4_000))", _MEMORY),
    Attempt("many long texts", "SELECT count(DISTINCT repeat('x', 1_000_000) || i) FROM range(10_000) t(i)", _BOMB),
    Attempt("one long list", "SELECT len(range(2_000_000_000))", _BOMB),
    Attempt("a list of all", "SELECT len(list(i)) FROM range(1_000_000_000) t(i)", _BOMB),
    Attempt("a padded text", "SELECT length(lpad('', 2_147_483_647, 'x'))", _BOMB),
    Attempt(
        "an endless recursion",
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*) FROM r",
        _BOMB,
    ),
    Attempt(
        "a recursion that doubles",
        "WITH RECURSIVE r AS (SELECT 1 a UNION ALL (FROM r UNION ALL FROM r)) SELECT count(*) FROM r",
        _BOMB,
    ),
    Attempt(
        "a product",
        "SELECT sum(a.i * b.i + c.i) FROM range(100_000) a(i), range(100_000) b(i), range(1000) c(i)",
        _BOMB,
    ),
    Attempt(
        "a long series",
        "SELECT count(*) FILTER (md5(i::VARCHAR) = '') FROM generate_series(1, 1_000_000_000_000) t(i)",
        _BOMB,
    ),
    Attempt("a sort of much", "SELECT md5(i::VARCHAR) m FROM range(1_000_000_000) t(i) ORDER BY m", _BOMB),
    Attempt(
        "a spill of much",
        "CREATE TEMP TABLE t AS SELECT md5(i::VARCHAR) || md5((i + 1)::VARCHAR) m, i FROM range(1_000_000_000) t(i)",
        _BOMB,
    ),
    Attempt("a spill by copies", "COPY (SELECT repeat('x', 1000) FROM range(10_000_000)) TO '{spill}/x.csv'", _BOMB),
    Attempt("a regular expression", "SELECT regexp_matches(repeat('a', 10_000_000), '(a*)*(a*)*(a|a|aa)+$')", _ALL),
    Attempt("a large regular expression", "SELECT regexp_matches('x', repeat('(x{{1,1000}})', 1000))", _ALL),
    Attempt("a deep sum", "SELECT " + "(" * 20_000 + "1" + ")" * 20_000, _BOMB),
    Attempt("a long sum", "SELECT " + "+".join(["1"] * 50_000), _ALL),
    Attempt("a deep list", "SELECT " + "[" * 5_000 + "1" + "]" * 5_000, _ALL),
    Attempt("deep subqueries", "SELECT * FROM " + "(SELECT * FROM " * 2_000 + "sites" + ")" * 2_000, _ALL),
    Attempt("a wide union", " UNION ALL ".join(["SELECT 1"] * 20_000), _ALL),
    Attempt("a long literal", "SELECT length('" + "x" * 4_000_000 + "') AS n", _ALL),
    Attempt("many columns", "SELECT " + ",".join(f"{i} AS c{i}" for i in range(20_000)), _ALL),
    Attempt("deep JSON", "SELECT json_valid(repeat('[', 10_000_000))", _ALL),
    Attempt("a deep cast", "SELECT (repeat('[', 100_000) || repeat(']', 100_000))::INT[]", _ALL),
    Attempt("a wide pivot", "PIVOT (SELECT i, i % 50_000 AS k FROM range(1_000_000) t(i)) ON k USING sum(i)", _ALL),
    Attempt("a long sleep", "SELECT sleep_ms(60_000)", _ALL),
    Attempt("a large number", "SELECT 99999999999999999999999999999999999999::HUGEINT ** 100_000", _ALL),
    Attempt("many rows", "FROM range(1_000_000_000)", ("answered",)),
    Attempt("long rows", "SELECT repeat('x', 1_000_000) FROM range(1_000)", ("answered", "out_of_memory")),
    Attempt("a compressed answer", "SELECT repeat('x', 10_000_000) FROM range(100)", ("answered", "out_of_memory")),
)

ATTEMPTS = (*WRITES, *READS, *SOCKETS, *SETTINGS, *BOMBS)
