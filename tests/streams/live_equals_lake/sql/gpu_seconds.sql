-- Seconds of racks: of each GPU one reading stands in a second.
CREATE TABLE gpu_reading AS
SELECT DISTINCT second_of(time) AS second, epoch_us(time) % 1000000 AS micros, rack, node, gpu,
       power_deciwatts AS power, utilization_e4 AS utilization, energy_whole_joules AS energy,
       round(temperature_celsius * 10::FLOAT)::INTEGER AS temperature
FROM raw.gpu JOIN message m USING (_partition, _offset) SEMI JOIN slots USING (rack, node, gpu)
WHERE m.topic = 'gpu' AND second_of(time) >= greatest(floor, coalesce(final_end, floor));

CREATE TABLE gpu_second AS
SELECT second, rack, node, gpu,
       first(micros ORDER BY stands) AS micros, first(power ORDER BY stands) AS power,
       first(utilization ORDER BY stands) AS utilization, first(energy ORDER BY stands) AS energy,
       max(power) AS power_max, max(temperature) AS temperature, count(*) AS readings,
       sum(hash) AS hash
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY second, rack, node, gpu
        ORDER BY power IS NULL, micros DESC, power DESC, utilization DESC NULLS LAST, energy DESC NULLS LAST
    ) AS stands,
    hashed(second * 1000000 + micros, coalesce(power, -1), halves(coalesce(utilization, -1), coalesce(temperature + 1000, -1)),
           coalesce(energy, -1), hashed(rack, node, gpu, 0, 0, 0, 0)::HUGEINT, 0, 0) AS hash
    FROM gpu_reading
)
GROUP BY ALL;

CREATE TABLE rack_second AS
SELECT second, 4 AS kind, rack AS id,
       sum(power) * 100 AS power, sum(power_max) FILTER (power IS NOT NULL) * 100 AS peak, NULL::BIGINT AS square,
       sum(power) * 100 AS energy, CASE WHEN count(power) > 0 THEN 3 END AS method,
       sum(utilization) AS utilization, count(utilization) AS utilized, max(temperature) AS temperature,
       count(power) AS reporting, max(1000000 - micros) AS age, sum(readings) AS readings, sum(hash) AS hash
FROM gpu_second GROUP BY second, rack;
