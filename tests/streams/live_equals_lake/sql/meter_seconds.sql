-- Seconds of meters: a reading holds until the next of its meter and phase, and for at most three intervals.
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

-- A counter counts from the last reading of one second to the last of the next, where it went up by 100 steps or more,
-- fell between no two readings, and gained no more than twice what its device's nameplate, else its rating, allows.
CREATE TABLE counted AS
WITH last_of AS (
    SELECT t // 1000000 AS second, meter, arg_max(energy, t) AS energy, coalesce(bool_or(energy < before), false) AS fell
    FROM (SELECT *, lag(energy) OVER (PARTITION BY meter ORDER BY t) AS before
          FROM meter_reading WHERE phase = 0 AND energy IS NOT NULL)
    GROUP BY ALL
), flows AS (
    SELECT meter, coalesce(max(watts) FILTER ("limit" = 'nameplate'), max(watts) FILTER ("limit" = 'rated')) AS watts
    FROM meters JOIN limits ON kind = subject_kind AND id = subject GROUP BY meter
)
SELECT b.second, b.meter, b.energy - a.energy AS energy
FROM last_of a JOIN last_of b ON a.meter = b.meter AND b.second = a.second + 1 LEFT JOIN flows ON flows.meter = b.meter
WHERE b.energy > a.energy AND b.energy - a.energy >= 100 * gcd(a.energy, b.energy) AND NOT b.fell
AND (watts IS NULL OR b.energy - a.energy <= 2000 * watts);

-- What a second's window is a function of: from the oldest reading that reaches into it, or the second before it where
-- that is earlier, to its end. Whatever comes to that set may change the window, and makes its version greater.
-- Of one moment the greater is the later.
CREATE TABLE meter_nth AS
SELECT *, row_number() OVER (
    PARTITION BY meter
    ORDER BY t, phase, power NULLS FIRST, energy NULLS FIRST, current NULLS FIRST, hold
) AS nth
FROM meter_said;
CREATE TABLE reached AS
SELECT meter, second, min(nth) AS oldest
FROM (SELECT *, unnest(range(t // 1000000, (t + hold + 999999) // 1000000)) AS second FROM meter_nth)
WHERE second >= floor GROUP BY meter, second;
CREATE TABLE version AS
SELECT r.second, r.meter, count(*) AS readings, sum(hash) AS hash
FROM reached r JOIN (
    SELECT meter, t, nth, hashed(meter, phase, t, coalesce(power, -1), coalesce(current, -1), coalesce(energy, -1), hold) AS hash
    FROM meter_nth
) s ON s.meter = r.meter AND (s.nth >= r.oldest OR s.t >= (r.second - 1) * 1000000) AND s.t < (r.second + 1) * 1000000
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
