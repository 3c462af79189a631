-- The table `reference`: a row a window, in the units of WINDOW; what every other file here made is in integers.
CREATE TABLE reference AS
SELECT make_timestamp(second * 1000000) AS window_start, every_seconds, subject_kind, subject,
       power::DOUBLE / 1000 AS power_watts, low::DOUBLE / 1000 AS power_low_watts,
       high::DOUBLE / 1000 AS power_high_watts, peak::DOUBLE / 1000 AS power_max_watts,
       CASE WHEN power IS NOT NULL THEN basis END AS power_basis,
       square::DOUBLE / 1000000 AS current_square_seconds,
       energy::DOUBLE / 1000 AS energy_joules, method AS energy_method,
       CASE WHEN utilized > 0 THEN utilization::DOUBLE / utilized / 10000 END AS utilization_fraction,
       temperature::DOUBLE / 10 AS temperature_max_celsius, expected, reporting,
       age::DOUBLE / 1000000 AS oldest_age_seconds,
       coalesce(record, (SELECT any_value(version) FROM sites)) AS version_facility, 0 AS version_generation,
       readings AS version_readings, digest(hash) AS version_digest
FROM (
    SELECT *, 1 AS every_seconds FROM second_window WHERE second IN (SELECT second FROM source_second)
    UNION ALL BY NAME SELECT *, 60 AS every_seconds FROM minute_window WHERE subject_kind <> 5
    UNION ALL BY NAME SELECT *, 60 AS every_seconds FROM gpu_minute
    UNION ALL BY NAME SELECT *, 60 AS every_seconds FROM node_minute
    UNION ALL BY NAME SELECT *, 1 AS every_seconds FROM job_second WHERE second IN (SELECT second FROM source_second)
    UNION ALL BY NAME SELECT *, 60 AS every_seconds FROM job_minute
);
