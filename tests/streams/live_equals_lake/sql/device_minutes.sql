-- Minutes of GPUs and nodes (docs/decisions/0022): means over what reported, bounds over all sixty seconds.

-- The counter of each second against the one before, in this minute or at the end of the minute before it.
CREATE TABLE gpu_counter AS
SELECT *, lag((second, energy)) OVER of_gpu AS before
FROM (SELECT second // 60 AS minute, second, node, gpu, energy FROM gpu_second WHERE energy IS NOT NULL)
WINDOW of_gpu AS (PARTITION BY node, gpu ORDER BY second);
CREATE TABLE gpu_gain AS
SELECT minute, node, gpu, last - first AS gained, first, last, fell, ended - begun + 1 AS seconds
FROM (
    SELECT minute, node, gpu, bool_or(coalesce(energy < before[2], false) AND before[1] // 60 >= minute - 1) AS fell,
           arg_max(energy, second) AS last, max(second) AS ended
    FROM gpu_counter GROUP BY ALL
) JOIN (
    SELECT minute + 1 AS minute, node, gpu, arg_max(energy, second) AS first, max(second) AS begun
    FROM gpu_counter GROUP BY ALL
) USING (minute, node, gpu);

CREATE TABLE gpu_said AS
SELECT minute, node, gpu, sum(g.power) * 100 AS power, count(g.power) AS powered, max(g.power_max) * 100 AS peak,
       sum(g.utilization) AS utilization, count(g.utilization) AS utilized, max(g.temperature) AS temperature,
       (minute + 1) * 60000000 - max(t) AS age, sum(g.readings) AS readings, sum(hashed(
           t, halves(coalesce(g.power, -1), coalesce(g.power_max, -1)),
           halves(coalesce(g.utilization, -1), coalesce(g.temperature + 1000, -1)), coalesce(g.energy, -1), g.readings,
           hashed(rack, node, gpu, 0, 0, 0, 0)::HUGEINT, 0)) AS hash
FROM (SELECT *, second // 60 AS minute, second * 1000000 + micros AS t FROM gpu_second) g GROUP BY minute, node, gpu;

CREATE TABLE gpu_minute AS
SELECT minute * 60 AS second, 6 AS subject_kind, node * 256 + gpu AS subject, node,
       round_even(power / powered, 0)::BIGINT AS power,
       round_even(coalesce(power, 0) / 60, 0)::BIGINT AS low,
       CASE WHEN coalesce(powered, 0) = 60 THEN round_even(power / 60, 0)::BIGINT
            ELSE round_even((coalesce(power, 0) + (60 - coalesce(powered, 0)) * plate) / 60, 0)::BIGINT END AS high,
       peak, NULL::BIGINT AS square,
       CASE WHEN is_fine THEN gained * 1000 ELSE power END AS energy,
       CASE WHEN is_fine THEN 1 WHEN power IS NOT NULL THEN 3 END AS method,
       utilization, coalesce(utilized, 0) AS utilized, temperature, 1 AS expected,
       (coalesce(powered, 0) = 60)::INTEGER AS reporting, age, 1 AS basis,
       coalesce(readings, 0) AS readings, coalesce(hash, 0) AS hash
FROM (
    SELECT *, coalesce(NOT fell AND gained > 0 AND gained >= 100 * gcd(first, last)
                       AND (plate IS NULL OR gained <= 2 * plate // 1000 * seconds), false) AS is_fine
    FROM (SELECT DISTINCT second // 60 AS minute FROM source_second)
    CROSS JOIN (SELECT node, gpu, round(nameplate_watts * 1000)::BIGINT AS plate FROM slots)
    LEFT JOIN gpu_said USING (minute, node, gpu) LEFT JOIN gpu_gain USING (minute, node, gpu)
);

-- A node is its meter, else the sum of its GPUs; utilization and temperature are its GPUs' always.
CREATE TABLE node_minute AS
SELECT g.* REPLACE (
    if(m.second IS NULL, g.power, m.power) AS power, if(m.second IS NULL, g.low, m.low) AS low,
    if(m.second IS NULL, g.high, m.high) AS high, if(m.second IS NULL, g.peak, m.peak) AS peak,
    m.square AS square, if(m.second IS NULL, g.energy, m.energy) AS energy,
    if(m.second IS NULL, g.method, m.method) AS method, if(m.second IS NULL, g.expected, m.expected) AS expected,
    if(m.second IS NULL, g.reporting, m.reporting) AS reporting, if(m.second IS NULL, g.age, m.age) AS age,
    coalesce(m.basis, g.basis) AS basis, g.readings + coalesce(m.readings, 0) AS readings,
    g.hash + coalesce(m.hash, 0) AS hash)
FROM (
    SELECT second, 5 AS subject_kind, node AS subject, sum(power) AS power, sum(low) AS low,
           CASE WHEN count(*) = count(high) THEN sum(high) END AS high, sum(peak) AS peak, NULL::BIGINT AS square,
           sum(energy) AS energy, max(method) AS method, sum(utilization) AS utilization, sum(utilized) AS utilized,
           max(temperature) AS temperature, sum(expected) AS expected, sum(reporting) AS reporting, max(age) AS age,
           3 AS basis, sum(readings) AS readings, sum(hash) AS hash
    FROM gpu_minute GROUP BY second, node
) g LEFT JOIN minute_window m USING (second, subject_kind, subject);
