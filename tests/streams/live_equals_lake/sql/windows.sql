-- Windows of one second, and of a minute those of its sixty.
CREATE TABLE in_second AS
SELECT h.second, m.*, s.* EXCLUDE (second, kind, id, readings, hash), coalesce(round(r.rest_watts * 1000)::BIGINT, 0) AS rest,
       CASE m.kind WHEN 4 THEN gpus ELSE 1 END AS expected
FROM clock h CROSS JOIN member m
LEFT JOIN source_second s USING (second, kind, id)
LEFT JOIN racks r ON m.kind = 4 AND r.rack = m.id;

CREATE TABLE second_window AS
SELECT s.*,
       CASE WHEN is_power AND (most IS NOT NULL OR power IS NOT NULL OR least > 0)
            THEN coalesce(power, 0) + coalesce(least, 0) END AS low,
       CASE WHEN is_power THEN coalesce(power, 0) + most END AS high
FROM (
SELECT second, subject_kind, subject,
       bool_or(is_power) AS is_power, sum(power + rest) FILTER (is_power) AS power,
       sum(peak + rest) FILTER (is_power) AS peak,
       CASE WHEN count(*) FILTER (is_power) = 1 THEN any_value(square) FILTER (is_power) END AS square,
       sum(energy + rest) FILTER (is_power) AS energy, max(method) FILTER (is_power) AS method,
       sum(utilization) FILTER (is_gpu) AS utilization, coalesce(sum(utilized) FILTER (is_gpu), 0) AS utilized,
       max(temperature) FILTER (is_gpu) AS temperature,
       coalesce(sum(expected) FILTER (is_power), 0) AS expected,
       coalesce(sum(reporting) FILTER (is_power), 0) AS reporting,
       max(age) FILTER (is_power) AS age, max(basis) AS basis, coalesce(any_value(v.readings), 0) AS readings,
       coalesce(any_value(v.hash), 0) AS hash
FROM in_second LEFT JOIN (
    SELECT second, subject_kind, subject, sum(readings) AS readings, sum(hash) AS hash
    FROM counted_by JOIN source_second USING (kind, id) GROUP BY ALL
) v USING (second, subject_kind, subject)
GROUP BY second, subject_kind, subject
) s LEFT JOIN bound USING (second, subject_kind, subject);

CREATE TABLE minute_window AS
SELECT second // 60 * 60 AS second, subject_kind, subject,
       round_even(sum(power) / count(power), 0)::BIGINT AS power,
       CASE WHEN count(low) > 0 THEN round_even(sum(low) / 60, 0)::BIGINT END AS low,
       CASE WHEN count(high) = 60 THEN round_even(sum(high) / 60, 0)::BIGINT END AS high, max(peak) AS peak, sum(square) AS square,
       sum(energy) AS energy, max(method) AS method, sum(utilization) AS utilization, sum(utilized) AS utilized,
       max(temperature) AS temperature, max(expected) AS expected, min(reporting) AS reporting,
       arg_max(age + (second // 60 * 60 + 59 - second) * 1000000, second) FILTER (age IS NOT NULL) AS age,
       max(basis) AS basis, sum(readings) AS readings, sum(hash) AS hash
FROM second_window GROUP BY ALL;
