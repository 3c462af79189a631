-- How the values of each minute are distributed: power of each subject by the second, and what is of the GPUs of racks.
-- A bin of power is 1/64 of an octave of 0.1 W; below zero the bins are mirrored.
CREATE MACRO above_64(size) AS greatest(length(bin(size)) - 7, 0);
CREATE MACRO bin_of(size) AS above_64(size) * 64 + (size >> above_64(size));
CREATE MACRO power_bin(deciwatts) AS
    CASE WHEN deciwatts < 0 THEN -1 - bin_of(-1 - deciwatts) ELSE bin_of(deciwatts) END;
CREATE MACRO floored(x, y) AS floor(x / y)::BIGINT;

CREATE TABLE subject_bin AS
SELECT s.second // 60 * 60 AS second, subject_kind, subject, 1 AS metric, power_bin(floored(s.power, 100)) AS bin,
       count(*) AS count, any_value(m.readings) AS readings, any_value(m.hash) AS hash
FROM second_window s JOIN minute_window m USING (subject_kind, subject)
WHERE m.second = s.second // 60 * 60 AND s.power IS NOT NULL AND m.readings > 0 GROUP BY ALL;

CREATE TABLE rack_bin AS
SELECT second // 60 * 60 AS second, 4 AS subject_kind, rack AS subject, metric, bin, count(*) AS count
FROM (
    SELECT second, rack, unnest([
        {metric: 2, bin: CASE WHEN power IS NOT NULL THEN power_bin(power) END},
        {metric: 3, bin: floored(utilization, 100)}, {metric: 4, bin: floored(temperature, 10)}], recursive := true)
    FROM gpu_second
)
WHERE bin IS NOT NULL GROUP BY ALL;

CREATE TABLE histogram AS
SELECT make_timestamp(second * 1000000) AS window_start, 60 AS every_seconds, subject_kind, subject, metric, bin, count,
       readings AS version_readings, digest(hash) AS version_digest
FROM (
    FROM subject_bin
    UNION ALL
    SELECT b.*, r.readings, r.hash FROM rack_bin b JOIN (
        SELECT minute * 60 AS second, rack AS subject, sum(readings) AS readings, sum(hash) AS hash
        FROM gpu_said JOIN nodes USING (node) GROUP BY ALL
    ) r USING (second, subject)
);
