-- What the silent draw at least and at most: by nameplate, and by what the meters above leave for them.
-- In mW; a null `most` is what nobody knows. docs/decisions/0025 says why.

-- What a source may draw beyond what it says. Sources that measure one thing at one level share its nameplate.
CREATE TABLE plate AS
SELECT 12 AS kind, meter AS id, round(watts * 1000)::BIGINT AS plate,
       'meter ' || m.subject_kind || ' ' || m.subject || ' ' || level AS owner
FROM meters m LEFT JOIN limits l ON l."limit" = 'nameplate' AND l.kind = m.subject_kind AND l.id = m.subject
UNION ALL
SELECT 4, rack, round(nameplate_watts * 1000)::BIGINT, 'rack ' || rack FROM racks;

CREATE TABLE silent_gpus AS
SELECT h.second, h.rack AS id, CASE WHEN count(*) = count(s.nameplate_watts) THEN sum(round(s.nameplate_watts * 1000)::BIGINT) END AS watts
FROM (SELECT DISTINCT second, rack FROM gpu_second) h JOIN slots s USING (rack)
LEFT JOIN gpu_second g ON g.second = h.second AND g.rack = h.rack AND g.node = s.node AND g.gpu = s.gpu
WHERE g.power IS NULL GROUP BY ALL;

CREATE TABLE known AS
SELECT second, kind, id, owner, drawn, reporting < parts AS is_silent, proves,
       plate - least(drawn, plate) AS own_left,
       CASE WHEN reporting >= parts THEN 0 WHEN reporting > 0 THEN watts ELSE plate - least(drawn, plate) END AS alone,
       CASE WHEN plate IS NOT NULL THEN greatest(plate - sum(drawn) OVER (PARTITION BY second, owner), 0) END AS "left"
FROM (
    SELECT h.second, p.*, coalesce(s.power, 0) AS drawn, coalesce(s.reporting, 0) AS reporting, g.watts,
           CASE p.kind WHEN 4 THEN gpus ELSE 1 END AS parts,
           s.power IS NOT NULL AND s.reporting >= CASE p.kind WHEN 4 THEN gpus ELSE 1 END AND s.age <= 3000000 AS proves
    FROM clock h CROSS JOIN plate p
    LEFT JOIN source_second s ON s.second = h.second AND s.kind = p.kind AND s.id = p.id
    LEFT JOIN silent_gpus g ON g.second = h.second AND p.kind = 4 AND g.id = p.id
    LEFT JOIN racks r ON p.kind = 4 AND r.rack = p.id
);
CREATE TABLE ceiling AS  -- of a meter what is silent, of the GPUs of a rack all that its nameplate leaves
SELECT second, kind, id, CASE kind WHEN 4 THEN own_left ELSE alone END AS ceiling FROM known;

-- What comes into a group and what its parts say of it.
CREATE TABLE grp_second AS
SELECT grp, second, income - coalesce(drawn, 0) AS room, proves AND income >= coalesce(drawn, 0) AS proves,
       income, ceilings, unknown
FROM (
    SELECT grp, second, sum(drawn) AS income, bool_and(proves) AS proves
    FROM carried JOIN known USING (kind, id) WHERE role = 'meter' GROUP BY ALL
) LEFT JOIN (
    SELECT grp, second, sum(drawn) AS drawn, coalesce(sum(ceiling), 0) AS ceilings,
           count(*) - count(ceiling) AS unknown
    FROM carried JOIN known USING (kind, id) JOIN ceiling USING (second, kind, id) WHERE role = 'part' GROUP BY ALL
) USING (grp, second);

-- What parts draw at least: what comes in less 3 % for the wires, less all that everything else may draw there.
-- Where that leaves no room for all to draw their most, the meter contradicts the nameplates and proves nothing.
CREATE TABLE grp_floor AS
SELECT grp, second, room - (income * 3 + 99) // 100 - unmetered AS spare, ceilings, unknown
FROM grp_second JOIN whole USING (grp)
WHERE proves AND (unknown > 0 OR room - (income * 3 + 99) // 100 - unmetered <= ceilings);
CREATE TABLE source_least AS
SELECT k.second, k.kind, k.id,
       CASE WHEN k.kind = 12 AND is_silent AND unknown = (ceiling IS NULL)::INTEGER
            THEN greatest(0, spare - (ceilings - coalesce(ceiling, 0))) ELSE 0 END AS least
FROM known k JOIN ceiling USING (second, kind, id)
LEFT JOIN carried b ON b.role = 'bounded' AND b.kind = k.kind AND b.id = k.id
LEFT JOIN grp_floor f ON f.grp = b.grp AND f.second = k.second;
CREATE TABLE grp_least AS
SELECT grp, second, sum(least)::BIGINT AS least
FROM carried JOIN source_least USING (kind, id) WHERE role = 'part' GROUP BY ALL;

CREATE TABLE source_bound AS
SELECT k.*, l.least, b.grp,
       least(alone, CASE WHEN g.proves AND is_silent THEN room - (gl.least - l.least) END) AS most
FROM known k JOIN source_least l USING (second, kind, id)
LEFT JOIN carried b ON b.role = 'bounded' AND b.kind = k.kind AND b.id = k.id
LEFT JOIN grp_second g ON g.grp = b.grp AND g.second = k.second
LEFT JOIN grp_least gl ON gl.grp = b.grp AND gl.second = k.second;

-- A subject's sources below the same meters together; those without a meter above each by itself.
CREATE TABLE subject_grp AS
SELECT second, subject_kind, subject, grp, sum(s.least) AS least, sum(most) AS most, count(*) = count(most) AS is_known,
       coalesce(sum(ceiling) FILTER (kind = 12), 0) AS ceilings,
       count(*) FILTER (kind = 12 AND ceiling IS NULL) AS unknown
FROM member JOIN source_bound s USING (kind, id) JOIN ceiling USING (second, kind, id) WHERE is_power GROUP BY ALL;
CREATE TABLE subject_part AS
SELECT s.second, subject_kind, subject,
       greatest(s.least, CASE WHEN f.unknown = s.unknown THEN spare - (f.ceilings - s.ceilings) END) AS least,
       least(CASE WHEN s.is_known THEN s.most END,
             CASE WHEN g.proves THEN room - (gl.least - s.least) END) AS most
FROM subject_grp s LEFT JOIN grp_second g USING (grp, second) LEFT JOIN grp_floor f USING (grp, second)
LEFT JOIN grp_least gl USING (grp, second);

-- By nameplate: a place has all the sources of what it measures, and these together no more than the nameplate leaves.
CREATE TABLE owner_most AS
SELECT second, owner,
       least(CASE WHEN count(*) = count(most) THEN sum(most) END, any_value("left")) AS most,
       least(CASE WHEN count(*) = count(alone) THEN sum(alone) END, any_value("left")) AS alone
FROM source_bound GROUP BY ALL;
CREATE TABLE subject_owner AS
SELECT second, subject_kind, subject, CASE WHEN count(*) = count(most) THEN sum(most) END AS most,
       CASE WHEN count(*) = count(alone) THEN sum(alone) END AS alone
FROM (SELECT DISTINCT subject_kind, subject, owner FROM member JOIN plate USING (kind, id) WHERE is_power)
JOIN owner_most USING (owner) GROUP BY ALL;
CREATE TABLE subject_alone AS
SELECT second, subject_kind, subject, CASE WHEN count(*) = count(alone) THEN sum(alone) END AS alone
FROM member JOIN known USING (kind, id) WHERE is_power GROUP BY ALL;

CREATE TABLE bound AS
SELECT second, subject_kind, subject, CASE WHEN least > most THEN 0 ELSE least END AS least,
       CASE WHEN least <= most THEN most WHEN most IS NULL THEN NULL WHEN subject_kind <= 5 THEN o_alone ELSE a_alone END AS most
FROM (
    SELECT second, subject_kind, subject, p.least, o.alone AS o_alone, a.alone AS a_alone,
           CASE WHEN subject_kind <= 5 THEN least(p.most, o.most) ELSE p.most END AS most
    FROM (SELECT second, subject_kind, subject, sum(least) AS least, CASE WHEN count(*) = count(most) THEN sum(most) END AS most
          FROM subject_part GROUP BY ALL) p
    JOIN subject_owner o USING (second, subject_kind, subject) JOIN subject_alone a USING (second, subject_kind, subject)
);
