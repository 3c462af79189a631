-- The windows of a campus from the raw rows alone: what the streams must come to, however often they were killed.
-- Written from what schemas.md says of windows, in integers, and without a line of the streams' own code.
--
-- In: raw.gpu and raw.power as the lake has them; the facility's frames slots, racks, sums and meters; and counted_by:
-- which sources (RACK or METER) the version of a subject counts.
-- Out: the table `reference`, one row a window, with the columns of WINDOW.

CREATE MACRO second_of(t) AS epoch_us(t) // 1000000;
CREATE MACRO wrapped(x) AS (x::UHUGEINT % 18446744073709551616::UHUGEINT)::UBIGINT;
CREATE MACRO word(x) AS CASE WHEN x < 0 THEN (18446744073709551616::HUGEINT + x)::UHUGEINT ELSE x::UHUGEINT END;
CREATE MACRO times(x, y) AS wrapped(x::UHUGEINT * y::UHUGEINT);
CREATE MACRO step_1(x) AS times(xor(x, x >> 30), 13787848793156543929);
CREATE MACRO step_2(x) AS times(xor(x, x >> 27), 10723151780598845931);
CREATE MACRO step_3(x) AS xor(x, x >> 31);
CREATE MACRO mixed(x) AS step_3(step_2(step_1(x)));
CREATE MACRO hashed(a, b, c, d, e, f, g) AS mixed(wrapped(
      times(word(a), 11400714819323198485)::UHUGEINT + times(word(b), 14029467366897019727)
    + times(word(c),  1609587929392839161)           + times(word(d), 15485907386658061715)
    + times(word(e), 11562461410679940143)           + times(word(f), 16646288086500911323)
    + times(word(g), 10285213230658275043)));
CREATE MACRO halves(upper_half, lower_half) AS upper_half::BIGINT * 4294967296 + (lower_half::BIGINT & 4294967295);
CREATE MACRO digest(total) AS  -- Σ mod 2⁶⁴ as signed
    (CASE WHEN wrapped(total) >= 9223372036854775808 THEN wrapped(total)::HUGEINT - 18446744073709551616
          ELSE wrapped(total)::HUGEINT END)::BIGINT;

-- 1. What came in time. The watermark of a partition is its newest event time; a reading of a second more than 10 s
--    before the watermark's, at its place in the log, is in no window, and neither is what is older than the first message.
CREATE TABLE message AS
SELECT *, max(newest) OVER log // 1000000 - 10 AS final_end, first_value(oldest // 1000000) OVER whole AS floor
FROM (
    SELECT 'gpu' AS topic, _partition, _offset, min(epoch_us(time)) AS oldest, max(epoch_us(time)) AS newest
    FROM raw.gpu GROUP BY ALL
    UNION ALL
    SELECT 'power', _partition, _offset, min(epoch_us(time)), max(epoch_us(time)) FROM raw.power GROUP BY ALL
)
WINDOW log AS (PARTITION BY topic, _partition ORDER BY _offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
       whole AS (PARTITION BY topic, _partition ORDER BY _offset);

-- 2. Seconds of racks: of each GPU one reading stands in a second.
CREATE TABLE gpu_reading AS
SELECT DISTINCT second_of(time) AS second, epoch_us(time) % 1000000 AS micros, rack, node, gpu,
       power_deciwatts AS power, utilization_e4 AS utilization, energy_whole_joules AS energy,
       round(temperature_celsius * 10::FLOAT)::INTEGER AS temperature
FROM raw.gpu JOIN message m USING (_partition, _offset) SEMI JOIN slots USING (rack, node, gpu)
WHERE m.topic = 'gpu' AND second_of(time) >= greatest(floor, coalesce(final_end, floor));

CREATE TABLE gpu_second AS
SELECT second, rack, node, gpu,
       first(micros ORDER BY stands) AS micros, first(power ORDER BY stands) AS power,
       first(utilization ORDER BY stands) AS utilization,
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

-- 3. Seconds of meters: a reading holds until the next of its meter and phase, and for at most three intervals.
CREATE TABLE meter_said AS
SELECT DISTINCT meter, phase, floor, epoch_us(time) AS t,
       round_even(power_watts * 1000, 0)::BIGINT AS power, round_even(current_amps * 1000, 0)::BIGINT AS current,
       round_even(energy_joules * 1000, 0)::BIGINT AS energy,
       greatest(1, least(180000000, ceil(coalesce(CASE WHEN p.interval_seconds > 0 THEN p.interval_seconds::DOUBLE END,
                                         m.interval_seconds, 1.0) * 3000000)::BIGINT)) AS hold
FROM raw.power p JOIN meters m USING (meter) JOIN message USING (_partition, _offset)
WHERE message.topic = 'power' AND (final_end IS NULL OR second_of(time) >= final_end);

CREATE TABLE meter_reading AS
SELECT * FROM meter_said
QUALIFY row_number() OVER (
    PARTITION BY meter, phase, t
    ORDER BY power DESC NULLS LAST, energy DESC NULLS LAST, current DESC NULLS LAST, hold DESC
) = 1;

CREATE TABLE power_span AS SELECT *, least(until, (second + 1) * 1000000) - greatest(t, second * 1000000) AS micros
FROM (
    SELECT *, unnest(range(t // 1000000, (until + 999999) // 1000000)) AS second FROM (
        SELECT *, least(t + hold, coalesce(lead(t) OVER (PARTITION BY meter ORDER BY t), t + hold)) AS until
        FROM meter_reading WHERE phase = 0 AND power IS NOT NULL
    )
);
CREATE TABLE current_span AS SELECT *, least(until, (second + 1) * 1000000) - greatest(t, second * 1000000) AS micros
FROM (
    SELECT *, unnest(range(t // 1000000, (until + 999999) // 1000000)) AS second FROM (
        SELECT *, least(t + hold, coalesce(lead(t) OVER (PARTITION BY meter, phase ORDER BY t), t + hold)) AS until
        FROM meter_reading WHERE current IS NOT NULL
    )
);

-- i²·dt of each reading, rounded to 1 A²µs; the worst phase, or the total where no phase is measured.
CREATE TABLE square AS
SELECT second, meter, coalesce(max(square) FILTER (phase > 0), max(square)) AS square
FROM (
    SELECT second, meter, phase, sum((current::HUGEINT * current * micros + 500000) // 1000000)::BIGINT AS square
    FROM current_span GROUP BY ALL
)
GROUP BY ALL;

-- A counter counts from the last reading of one second to the last of the next, where it went up by 100 steps or more.
CREATE TABLE counted AS
WITH last_of AS (
    SELECT t // 1000000 AS second, meter, arg_max(energy, t) AS energy
    FROM meter_reading WHERE phase = 0 AND energy IS NOT NULL GROUP BY ALL
)
SELECT b.second, b.meter, b.energy - a.energy AS energy
FROM last_of a JOIN last_of b ON a.meter = b.meter AND b.second = a.second + 1
WHERE b.energy > a.energy AND b.energy - a.energy >= 100 * gcd(a.energy, b.energy);

-- What a second's window is a function of: from the oldest reading that reaches into it, or the second before it where
-- that is earlier, to its end. Whatever comes to that set may change the window, and makes its version greater.
CREATE TABLE reached AS
SELECT meter, second, least(min(t), (second - 1) * 1000000) AS first_t
FROM (SELECT meter, t, floor, unnest(range(t // 1000000, (t + hold + 999999) // 1000000)) AS second FROM meter_said)
WHERE second >= floor GROUP BY meter, second;
CREATE TABLE version AS
SELECT r.second, r.meter, count(*) AS readings, sum(hash) AS hash
FROM reached r JOIN (
    SELECT meter, t, hashed(meter, phase, t, coalesce(power, -1), coalesce(current, -1), coalesce(energy, -1), hold) AS hash
    FROM meter_said
) s ON s.meter = r.meter AND s.t >= r.first_t AND s.t < (r.second + 1) * 1000000
GROUP BY ALL;

CREATE TABLE meter_second AS
WITH held AS (
    SELECT second, meter, sum(power::HUGEINT * micros) AS work, sum(micros) AS covered, max(power) AS peak,
           (second + 1) * 1000000 - min(t) AS age
    FROM power_span GROUP BY second, meter
)
SELECT v.second, 12 AS kind, v.meter AS id,
       ((work + covered // 2) // covered)::BIGINT AS power, peak, square,
       coalesce(counted.energy, ((work + 500000) // 1000000)::BIGINT) AS energy,
       CASE WHEN counted.energy IS NOT NULL THEN 1 WHEN work IS NOT NULL THEN 3 END AS method,
       NULL::BIGINT AS utilization, 0 AS utilized, NULL::INTEGER AS temperature,
       (work IS NOT NULL)::INTEGER AS reporting, age, readings, hash
FROM version v LEFT JOIN held USING (second, meter) LEFT JOIN square USING (second, meter)
LEFT JOIN counted USING (second, meter);

-- 4. What adds up to what. A rack is its meters, else its GPUs and the modelled rest; places are the sums of their racks.
CREATE TABLE member AS
WITH rack_member AS (
    SELECT subject AS rack, 12 AS kind, meter AS id, basis FROM sums WHERE subject_kind = 4
    UNION ALL
    SELECT rack, 4, rack, 3 FROM racks WHERE gpus > 0 AND rack NOT IN (SELECT subject FROM sums WHERE subject_kind = 4)
), place AS (
    SELECT rack, 3 AS subject_kind, "row" AS subject FROM racks
    UNION ALL SELECT rack, 2, hall FROM racks
    UNION ALL SELECT rack, 1, site FROM racks
), power AS (
    SELECT subject_kind, subject, 12 AS kind, meter AS id, basis FROM sums
    UNION ALL
    SELECT 4, rack, kind, id, basis FROM rack_member WHERE kind = 4
    UNION ALL
    SELECT subject_kind, subject, kind, id, greatest(basis, 2) FROM place JOIN rack_member USING (rack)
    ANTI JOIN sums USING (subject_kind, subject)
), gpus AS (
    SELECT 4 AS subject_kind, rack AS subject, 4 AS kind, rack AS id FROM racks WHERE gpus > 0
    UNION ALL
    SELECT subject_kind, subject, 4, rack FROM place JOIN racks USING (rack) WHERE gpus > 0
)
SELECT subject_kind, subject, kind, id, bool_or(is_power) AS is_power, bool_or(is_gpu) AS is_gpu, max(basis) AS basis
FROM (
    SELECT *, true AS is_power, false AS is_gpu FROM power
    UNION ALL BY NAME
    SELECT *, false AS is_power, true AS is_gpu, NULL AS basis FROM gpus
)
GROUP BY ALL;

-- 5. Windows of one second, and of a minute those of its seconds.
CREATE TABLE source_second AS SELECT * FROM rack_second UNION ALL SELECT * FROM meter_second;
CREATE TABLE in_second AS
SELECT h.second, m.*, s.* EXCLUDE (second, kind, id, readings, hash), coalesce(round(r.rest_watts * 1000)::BIGINT, 0) AS rest,
       CASE m.kind WHEN 4 THEN gpus ELSE 1 END AS expected
FROM (SELECT DISTINCT second FROM source_second) h CROSS JOIN member m
LEFT JOIN source_second s USING (second, kind, id)
LEFT JOIN racks r ON m.kind = 4 AND r.rack = m.id;

CREATE TABLE second_window AS
SELECT second, subject_kind, subject,
       sum(power + rest) FILTER (is_power) AS power,
       sum(peak + rest) FILTER (is_power) AS peak,
       CASE WHEN count(*) FILTER (is_power) = 1 THEN any_value(square) FILTER (is_power) END AS square,
       sum(energy) FILTER (is_power) AS energy, max(method) FILTER (is_power) AS method,
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
GROUP BY second, subject_kind, subject;

CREATE TABLE minute_window AS
SELECT second // 60 * 60 AS second, subject_kind, subject,
       round_even(sum(power) / count(power), 0)::BIGINT AS power, max(peak) AS peak, sum(square) AS square,
       sum(energy) AS energy, max(method) AS method, sum(utilization) AS utilization, sum(utilized) AS utilized,
       max(temperature) AS temperature, max(expected) AS expected, min(reporting) AS reporting,
       arg_max(age + (second // 60 * 60 + 59 - second) * 1000000, second) FILTER (age IS NOT NULL) AS age,
       max(basis) AS basis, sum(readings) AS readings, sum(hash) AS hash
FROM second_window GROUP BY ALL;

CREATE TABLE reference AS
SELECT make_timestamp(second * 1000000) AS window_start, every_seconds, subject_kind, subject,
       power::DOUBLE / 1000 AS power_watts, peak::DOUBLE / 1000 AS power_max_watts,
       CASE WHEN power IS NOT NULL THEN basis END AS power_basis,
       square::DOUBLE / 1000000 AS current_square_seconds,
       energy::DOUBLE / 1000 AS energy_joules, method AS energy_method,
       CASE WHEN utilized > 0 THEN utilization::DOUBLE / utilized / 10000 END AS utilization_fraction,
       temperature::DOUBLE / 10 AS temperature_max_celsius, expected, reporting,
       age::DOUBLE / 1000000 AS oldest_age_seconds,
       readings AS version_readings, digest(hash) AS version_digest
FROM (SELECT *, 1 AS every_seconds FROM second_window UNION ALL SELECT *, 60 FROM minute_window);
