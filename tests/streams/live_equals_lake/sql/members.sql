-- What adds up to what. A rack is its meters, else its GPUs and the modelled rest; places are the sums of their racks.
CREATE TABLE rack_member AS
SELECT subject AS rack, 12 AS kind, meter AS id, basis FROM sums WHERE subject_kind = 4
UNION ALL
SELECT rack, 4, rack, 3 FROM racks WHERE gpus > 0 AND rack NOT IN (SELECT subject FROM sums WHERE subject_kind = 4);

CREATE TABLE member AS
WITH place AS (
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

CREATE TABLE source_second AS SELECT * FROM rack_second UNION ALL SELECT * FROM meter_second;
-- Every second of each minute in which something was said: a minute is of sixty, the silent ones too.
CREATE TABLE clock AS
SELECT DISTINCT minute * 60 + unnest(range(60)) AS second FROM (SELECT DISTINCT second // 60 AS minute FROM source_second);
