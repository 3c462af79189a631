-- Seconds and minutes of jobs (docs/decisions/0035). A job has a second of a GPU where it runs on it at the second's
-- first instant, as its newest record says; power is that of its GPUs, and the silent draw their nameplate at most.
CREATE TABLE has AS
SELECT DISTINCT c.second, j.subject, j.record, s.rack, s.node, s.gpu, round(s.nameplate_watts * 1000)::BIGINT AS plate
FROM (FROM said_of_jobs QUALIFY rank() OVER (PARTITION BY subject ORDER BY record DESC) = 1) j
JOIN slots s ON s.node = j.node AND s.gpu BETWEEN j.gpu_first AND j.gpu_last
JOIN clock c ON c.second * 1000000 >= j.started AND (j.ended IS NULL OR c.second * 1000000 < j.ended);

CREATE TABLE job_second AS
SELECT second, 11 AS subject_kind, subject, record, sum(power) * 100 AS power, coalesce(sum(power), 0) * 100 AS low,
       coalesce(sum(power), 0) * 100 + coalesce(sum(plate) FILTER (power IS NULL), 0) AS high,
       sum(power_max) FILTER (power IS NOT NULL) * 100 AS peak, NULL::BIGINT AS square, sum(power) * 100 AS energy,
       CASE WHEN count(power) > 0 THEN 3 END AS method, coalesce(sum(utilization), 0) AS utilization,
       count(utilization) AS utilized, max(temperature) AS temperature, count(*) AS expected, count(power) AS reporting,
       max(1000000 - micros) AS age, 2 AS basis, coalesce(sum(readings), 0) AS readings,
       coalesce(sum(wrapped(
             times(word(micros), 11400714819323198485)::UHUGEINT
           + times(word(coalesce(power, 0)), 14029467366897019727)
           + times(word(CASE WHEN power IS NULL THEN 0 ELSE power_max END), 1609587929392839161)
           + times(word((power IS NOT NULL)::INTEGER), 15485907386658061715)
           + times(word(coalesce(utilization, 0)), 11562461410679940143)
           + times(word((utilization IS NOT NULL)::INTEGER), 16646288086500911323)
           + times(word(coalesce(temperature + 1000, 0)), 10285213230658275043)
           + times(word(readings), 6384245875588680899))) FILTER (micros IS NOT NULL), 0) AS hash
FROM has LEFT JOIN gpu_second USING (second, rack, node, gpu) GROUP BY ALL;

-- A minute is of all its seconds that the job has, and is told where something of the site was said in one of them.
CREATE TABLE job_minute AS
SELECT second // 60 * 60 AS second, subject_kind, subject, record, round_even(sum(power) / count(power), 0)::BIGINT AS power,
       round_even(sum(low) / count(*), 0)::BIGINT AS low, round_even(sum(high) / count(*), 0)::BIGINT AS high,
       max(peak) AS peak, NULL::BIGINT AS square, sum(energy) AS energy, max(method) AS method,
       sum(utilization) AS utilization, sum(utilized) AS utilized, max(temperature) AS temperature,
       max(expected) AS expected, min(reporting) AS reporting,
       arg_max(age + (second // 60 * 60 + 59 - second) * 1000000, second) FILTER (age IS NOT NULL) AS age,
       2 AS basis, sum(readings) AS readings, sum(hash) AS hash
FROM job_second GROUP BY ALL HAVING bool_or(second IN (SELECT second FROM source_second));
