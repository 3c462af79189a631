"""The views of a lake in DuckDB's SQL, over the relations of the schema `raw`: the tables and the dimensions.

A view shows each identity once (schemas.md: the greater value stands, never arrival) and of each window
the greatest version: `raw.<view>_once` has chosen. Filters on identity columns reach the files through that choice,
so a query by rack and time reads only those. Units are those of the records: watts, joules, fractions.
"""

from __future__ import annotations

from schemas import canary
from sinks.sql.plan import PLANNED
from sinks.sql.sources import SAME_ROWS, SOURCES

# Limits by their names: budget, nameplate, contract, rated, usable.
_LIMITS = """
LEFT JOIN (
    PIVOT raw.subject_limits ON "limit" IN ('budget', 'nameplate', 'contract', 'rated', 'usable')
    USING max(watts) GROUP BY kind, id
) l ON l.kind = s.kind AND l.id = s.id
"""

# What sinks.sql.aim asks for the ids of: by the words that the views show.
_PLACES = """
CREATE VIEW raw.gpu_places AS
SELECT r.id AS first, n.id AS second, r.path AS rack, n.path AS node, r.site
FROM raw.racks_by_id r LEFT JOIN raw.nodes_by_id n ON n.rack = r.path;
CREATE VIEW raw.meter_places AS
SELECT id AS first, NULL AS second, meter, subject_kind, subject, site FROM meters;
CREATE VIEW raw.subject_places AS
SELECT k.kind AS first, s.id AS second, k.name AS subject_kind, s.path AS subject, s.site
FROM raw.subjects s JOIN raw.subject_kinds k ON k.kind = s.kind;
"""

DIMENSIONS = f"""
CREATE VIEW limits AS
SELECT k.name AS subject_kind, s.path AS subject, s.site,
       l.budget AS budget_watts, l.nameplate AS nameplate_watts, l.contract AS contract_watts,
       l.rated AS rated_watts, l.usable AS usable_watts,
       s.id AS subject_id
FROM raw.subjects s JOIN raw.subject_kinds k ON k.kind = s.kind {_LIMITS}
WHERE s.kind <> 6; -- a GPU has none of its own
CREATE VIEW sites AS SELECT * EXCLUDE (subject_kind) RENAME (subject AS path) FROM limits WHERE subject_kind = 'site';
CREATE VIEW racks AS SELECT * EXCLUDE (subject_kind) RENAME (subject AS rack) FROM limits WHERE subject_kind = 'rack';
CREATE VIEW feeds AS
SELECT s.path AS feed, s.site, t.path AS twin, f.side, f.rated_amps, f.voltage_volts, f.usable_fraction, f.curve,
       s.id AS feed_id
FROM raw.feed_ratings f
JOIN raw.subjects s ON s.kind = 7 AND s.id = f.feed
LEFT JOIN raw.subjects t ON t.kind = 7 AND t.id = f.twin;
CREATE VIEW meters AS
SELECT m.path AS meter, l.name AS level, k.name AS subject_kind, s.path AS subject, m.interval_seconds,
       m.side, split_part(m.path, '/', 1) AS site, m.meter AS id
FROM raw.meter_list m
LEFT JOIN raw.levels l ON l.level = m.level
LEFT JOIN raw.subject_kinds k ON k.kind = m.subject_kind
LEFT JOIN raw.subjects s ON s.kind = m.subject_kind AND s.id = m.subject;
"""

GPU = """
CREATE VIEW gpu AS
SELECT g.time,
       coalesce(r.path, g.unregistered_path) AS rack,
       n.path AS node,
       g.gpu, g.instance,
       raw.vendor_name(g.vendor) AS vendor,
       raw.model_name(g.model) AS model,
       g.power_deciwatts / 10.0::DOUBLE AS power_watts,
       g.power_limit_deciwatts / 10.0::DOUBLE AS power_limit_watts,
       g.utilization_e4 / 10000.0::DOUBLE AS utilization_fraction,
       g.encoder_e4 / 10000.0::DOUBLE AS encoder_fraction,
       g.decoder_e4 / 10000.0::DOUBLE AS decoder_fraction,
       g.memory_used_bytes, g.temperature_celsius, g.memory_temperature_celsius, g.sm_clock_mhz,
       g.throttle_reasons,
       g.energy_whole_joules AS energy_joules,
       g.interval_seconds, g.averaging,
       r.site,
       g.rack AS rack_id, g.node AS node_id, g._partition, g._offset, g._row, g._appended
FROM raw.gpu_once g
LEFT JOIN raw.racks_by_id r ON r.id = g.rack
LEFT JOIN raw.nodes_by_id n ON n.id = g.node;
"""

POWER = f"""
CREATE VIEW power AS
SELECT p.time,
       coalesce(m.meter, p.unregistered_path) AS meter,
       coalesce(raw.level_name(p.level), m.level) AS level,
       m.subject_kind, m.subject,
       p.phase, p.power_watts, p.apparent_va, p.current_amps, p.voltage_volts, p.energy_joules,
       p.interval_seconds, p.averaging, p.quality,
       m.site,
       p.meter AS meter_id, p._partition, p._offset, p._row, p._appended
FROM (SELECT * FROM raw.power_once WHERE meter <> {canary.METER_ID}) p
LEFT JOIN meters m ON m.id = p.meter;
"""

# A job (kind 11) is named by its record, which is its window's `version_facility`: its number may be another's, too.
# Of a window that was withdrawn, `expected` 0, nothing is shown.
# Apart, since most windows are of no job and a join costs each of them.
_WINDOW = """
       w.power_watts, w.power_low_watts, w.power_high_watts, w.power_max_watts,
       raw.basis_name(w.power_basis) AS power_basis,
       w.current_square_seconds, w.energy_joules,
       raw.method_name(w.energy_method) AS energy_method,
       w.utilization_fraction, w.temperature_max_celsius, w.expected, w.reporting, w.oldest_age_seconds
"""
_WINDOW_VERSION = """
       w.subject AS subject_id, w.version_admission, w.version_facility, w.version_generation, w.version_readings,
       w.version_digest
"""
WINDOWS = f"""
CREATE VIEW windows AS
SELECT w.window_start, w.every_seconds, k.name AS subject_kind, s.path AS subject, {_WINDOW}, s.site, {_WINDOW_VERSION}
FROM raw.windows_once w
LEFT JOIN raw.subject_kinds k ON k.kind = w.subject_kind
LEFT JOIN raw.subjects s ON s.kind = w.subject_kind AND s.id = w.subject
WHERE w.subject_kind <> 11
UNION ALL
SELECT w.window_start, w.every_seconds, 'job' AS subject_kind, j.path AS subject, {_WINDOW}, j.site, {_WINDOW_VERSION}
FROM raw.windows_once w
LEFT JOIN (SELECT DISTINCT _offset + 1 AS record, site || '/' || job AS path, site FROM raw.jobs) j
    ON j.record = w.version_facility
WHERE w.subject_kind = 11 AND w.expected > 0;
"""

# Of a window the bins of its greatest version; one told twice counts once. What is of GPUs is one histogram of
# several metrics: one that lost all its bins to a later version has none. A subject's own power has a version of its
# own, that of its window. Bins of parts, and of minutes, add up: `percentile` does that for every subject of a kind
# at or below a path and for any span, and is off by at most half a bin. What is of GPUs is kept by rack.
HISTOGRAMS = """
CREATE VIEW histograms AS
SELECT h.window_start, h.every_seconds,
       k.name AS subject_kind,
       s.path AS subject,
       raw.metric_name(h.metric) AS metric,
       b.bin_low, b.bin_high, h.count,
       s.site,
       h.subject AS subject_id, h.bin, h.version_admission, h.version_facility, h.version_generation,
       h.version_readings, h.version_digest
FROM raw.histograms_once h
JOIN raw.bins b ON b.metric = h.metric AND b.bin = h.bin
LEFT JOIN raw.subject_kinds k ON k.kind = h.subject_kind
LEFT JOIN raw.subjects s ON s.kind = h.subject_kind AND s.id = h.subject;
"""

PERCENTILE = """
CREATE MACRO percentile(fraction, of_metric, of_kind, below := '', since := '-infinity', until := 'infinity') AS TABLE
WITH counted AS (
    SELECT bin, any_value(bin_low) AS bin_low, any_value(bin_high) AS bin_high, sum("count")::BIGINT AS in_bin
    FROM histograms
    WHERE metric = of_metric AND subject_kind = of_kind
      AND (below = '' OR subject = below OR starts_with(subject, below || '/'))
      AND window_start >= since::TIMESTAMP AND window_start < until::TIMESTAMP
    GROUP BY bin
), passed AS (
    SELECT *, sum(in_bin) OVER (ORDER BY bin) AS through, sum(in_bin) OVER () AS total FROM counted
)
SELECT (bin_low + bin_high) / 2 AS value, bin_low, bin_high, total::BIGINT AS "count"
FROM passed WHERE through >= fraction * total ORDER BY bin LIMIT 1;
"""

# A site is what its utility meters say; its halls are Σ racks, the IT, kept apart. Sums are of whole mW, so
# that they are the same in any order. A bound that one site does not know nobody knows of the campus; a registered
# site without a window, which said nothing, knows none.
CAMPUS = """
CREATE VIEW site_power AS
WITH it AS (
    SELECT site, window_start, every_seconds, sum(round(power_watts * 1000)::BIGINT) / 1000.0::DOUBLE AS it_power_watts
    FROM windows WHERE subject_kind = 'hall' GROUP BY ALL
)
SELECT w.window_start, w.every_seconds, w.site, w.power_watts, w.power_low_watts, w.power_high_watts, w.power_basis,
       it.it_power_watts,
       w.power_watts / nullif(it.it_power_watts, 0) AS facility_to_it_power_ratio,
       w.energy_joules, w.expected, w.reporting, w.oldest_age_seconds
FROM windows w
LEFT JOIN it ON it.site = w.site AND it.window_start = w.window_start AND it.every_seconds = w.every_seconds
WHERE w.subject_kind = 'site';

CREATE VIEW campus AS
SELECT window_start, every_seconds,
       greatest(count(*), (SELECT count(*) FROM raw.subjects WHERE kind = 1)) AS sites,
       count(power_watts) AS sites_reporting,
       sum(round(power_watts * 1000)::BIGINT) / 1000.0::DOUBLE AS power_watts,
       sum(round(power_low_watts * 1000)::BIGINT) / 1000.0::DOUBLE AS power_low_watts,
       CASE WHEN count(power_high_watts) >= (SELECT count(*) FROM raw.subjects WHERE kind = 1)
            AND count(power_high_watts) = count(*)
            THEN sum(round(power_high_watts * 1000)::BIGINT) / 1000.0::DOUBLE END AS power_high_watts,
       sum(round(it_power_watts * 1000)::BIGINT) / 1000.0::DOUBLE AS it_power_watts,
       -- Of the sites that say both.
       sum(power_watts) FILTER (it_power_watts > 0)
           / nullif(sum(it_power_watts) FILTER (power_watts IS NOT NULL), 0) AS facility_to_it_power_ratio,
       sum(round(energy_joules * 1000)::BIGINT) / 1000.0::DOUBLE AS energy_joules,
       sum(expected)::BIGINT AS expected, sum(reporting)::BIGINT AS reporting,
       max(oldest_age_seconds) AS oldest_age_seconds
FROM site_power GROUP BY window_start, every_seconds;
"""

JOBS = """
CREATE VIEW job_records AS SELECT * FROM raw.jobs;
CREATE VIEW jobs AS
SELECT * FROM raw.jobs
QUALIFY row_number() OVER (PARTITION BY site, job ORDER BY _partition, _appended DESC, _offset DESC, _row DESC) = 1;
CREATE VIEW progress AS
SELECT * FROM raw.progress_once;
"""

# Energy by `mean_times_span` (schemas.md 7): for each meter the mean of its readings times the span from
# its own start marker to its own stop marker, both markers included; a job is the sum of its meters.
JOB_ENERGY = """
CREATE VIEW job_meter_energy AS
WITH spans AS (
    SELECT site, job, workload, unnest(measured) AS span FROM jobs
), measured AS (
    SELECT site, job, workload, span.meter AS meter_id, span.started AS started, span.ended AS ended FROM spans
)
SELECT s.site, s.job, s.workload, any_value(p.meter) AS meter, s.started, s.ended,
       count(p.power_watts) AS readings,
       avg(p.power_watts) AS mean_power_watts,
       min(p.power_watts) AS min_power_watts,
       max(p.power_watts) AS max_power_watts,
       avg(p.power_watts) * date_diff('microsecond', s.started, s.ended) / 1e6 AS energy_joules,
       'mean_times_span' AS energy_method
FROM measured s
LEFT JOIN power p ON p.meter_id = s.meter_id AND p.phase = 0 AND p.time BETWEEN s.started AND s.ended
GROUP BY s.site, s.job, s.workload, s.meter_id, s.started, s.ended;

CREATE VIEW job_energy AS
SELECT site, job, any_value(workload) AS workload,
       count(*) AS meters,
       count(energy_joules) AS meters_reporting,
       sum(readings)::BIGINT AS readings,
       sum(energy_joules) AS energy_joules,
       sum(energy_joules) / 3.6e6 AS energy_kwh,
       'mean_times_span' AS energy_method
FROM job_meter_energy GROUP BY site, job;
"""

# The canary (docs/decisions/0026) is shown to who asks for it: `canary_alerts`, `raw.power`.
ALERTS = f"""
CREATE VIEW alerts AS SELECT * FROM raw.alerts_once WHERE site IS DISTINCT FROM '{canary.SITE}';
CREATE VIEW canary_alerts AS SELECT * FROM raw.alerts_once WHERE site = '{canary.SITE}';
"""

EPISODES = """
CREATE VIEW episodes AS
SELECT id, rule, severity, site, subject_kind, subject,
       min("start") AS "start",
       min("at") FILTER (transition = 'firing') AS fired,
       max("at") FILTER (transition = 'resolved') AS resolved,
       max(value) AS largest_value,
       any_value("limit") AS "limit",
       any_value(unit) AS unit,
       arg_max(summary, "at") AS summary
FROM alerts GROUP BY id, rule, severity, site, subject_kind, subject;
"""

REJECTED = """
CREATE VIEW rejected AS
SELECT topic, partition, "offset", row, reason, field, value, message, appended, admission, raw
FROM raw.rejected_once;
"""

# What upkeep found damaged: a row a file; `lost_rows` are missing from every answer, null = Kafka was not asked yet.
DAMAGE = "CREATE VIEW damage AS SELECT * FROM raw.damage"

_READING = (DIMENSIONS, _PLACES, GPU, POWER, WINDOWS, HISTOGRAMS, JOBS, ALERTS, REJECTED, DAMAGE)
_OVER_THEM = (PERCENTILE, CAMPUS, JOB_ENERGY, EPISODES)
_EMPTY = "; ".join(
    f"CREATE TABLE {PLANNED}.{view} AS SELECT * FROM main.{view} LIMIT 0"
    for view in (*SOURCES, *SAME_ROWS, "jobs", "job_records")
)

VIEWS: tuple[str, ...] = (
    *_READING,
    *_OVER_THEM,
    _EMPTY,
    f"SET search_path = '{PLANNED},main'",
    *_OVER_THEM,
    "RESET search_path",
)
"""Every view, in an order in which each finds those that it reads; and what a question is planned over."""
