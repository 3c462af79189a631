-- Which meters carry what: the nearest registered meters above each load, and what else hangs below them.
-- A group has meters whose sum comes in, parts that it carries, and those of its parts that it bounds.

CREATE TABLE metered AS SELECT subject_kind AS kind, subject AS id, meter FROM sums WHERE basis = 1;

-- Each device and all that feed it. A UPS group ends the way: its batteries feed what is behind it, too.
CREATE TABLE up AS
WITH RECURSIVE walk AS (
    SELECT kind, id, kind AS above_kind, id AS above, 0 AS steps FROM power
    UNION ALL
    SELECT w.kind, w.id, coalesce(p.parent_kind, 1), coalesce(p.parent, p.site), steps + 1
    FROM walk w JOIN power p ON p.kind = w.above_kind AND p.id = w.above WHERE p.kind <> 9
)
FROM walk UNION ALL SELECT 1, site, 1, site, 0 FROM sites;

CREATE TABLE nearest AS
SELECT u.kind, u.id, first(above_kind ORDER BY steps) AS near_kind, first(above ORDER BY steps) AS near
FROM up u SEMI JOIN metered m ON m.kind = above_kind AND m.id = above GROUP BY ALL;

-- Racks none of whose sources names its feed hang, whole, on all of the rack's feeds; without a tree on the site.
CREATE TABLE rack_source AS
SELECT s.rack, s.kind, s.id, r.site, feed FROM rack_member s JOIN racks r USING (rack)
LEFT JOIN meters ON s.kind = 12 AND meter = s.id;
CREATE TABLE untied AS SELECT rack, site FROM rack_source GROUP BY ALL HAVING count(feed) = 0;
CREATE TABLE rack_below AS
SELECT DISTINCT rack, site, near_kind, near
FROM untied JOIN feed_racks USING (rack) JOIN nearest ON kind = 7 AND id = feed
WHERE rack NOT IN (SELECT rack FROM feed_racks WHERE feed NOT IN (SELECT id FROM nearest WHERE kind = 7))
UNION ALL
SELECT rack, site, 1, site FROM untied WHERE rack NOT IN (SELECT rack FROM feed_racks)
AND site IN (SELECT id FROM metered WHERE kind = 1) AND site NOT IN (SELECT site FROM power WHERE kind = 9);
CREATE TABLE rack_ways AS
SELECT rack, site, count(*) AS ways, bool_or(near_kind = 1) AS at_site FROM rack_below GROUP BY ALL;

CREATE TABLE load AS
SELECT s.kind, s.id, near_kind, near FROM rack_source s JOIN nearest n ON n.kind = 7 AND n.id = s.feed
UNION ALL
SELECT s.kind, s.id, near_kind, near
FROM rack_source s JOIN rack_below b USING (rack) JOIN rack_ways USING (rack) WHERE ways = 1 AND NOT at_site
UNION ALL
SELECT 12, meter, near_kind, near FROM metered m JOIN power p ON p.kind = m.kind AND p.id = m.id AND p.kind <> 9
JOIN nearest n ON n.kind = coalesce(p.parent_kind, 1) AND n.id = coalesce(p.parent, p.site);

-- What comes into a device: its own meters, and where it is from outside the site's generators.
CREATE TABLE income AS
SELECT kind, id, meter FROM metered WHERE kind IN (1, 7, 8, 9, 10)
UNION
SELECT d.kind, d.id, g.meter FROM metered d LEFT JOIN power p ON p.kind = d.kind AND p.id = d.id
JOIN meters g ON g.level = 2 AND g.subject = coalesce(p.site, d.id) WHERE d.kind IN (1, 10);

-- Racks on several devices: how their load is split is not known, so only racks wholly below these are parts beside it.
CREATE TABLE top AS
SELECT rack, list_sort(list((near_kind, near))) AS tops
FROM rack_below b JOIN rack_ways w USING (rack) WHERE (ways > 1 OR at_site) AND NOT EXISTS (
    FROM rack_below other JOIN up u ON u.kind = b.near_kind AND u.id = b.near AND steps > 0
    WHERE other.rack = b.rack AND other.near_kind = u.above_kind AND other.near = u.above)
GROUP BY rack;
CREATE TABLE several AS SELECT DISTINCT tops, unnest(tops)[1] AS kind, unnest(tops)[2] AS id FROM top;
CREATE TABLE inside AS
WITH on_feed AS (
    SELECT s.rack, s.kind, s.id, s.site, coalesce(s.feed, f.feed) AS feed
    FROM rack_source s LEFT JOIN untied USING (rack) LEFT JOIN feed_racks f ON f.rack = untied.rack
    WHERE s.feed IS NOT NULL OR untied.rack IS NOT NULL
)
SELECT t.tops, r.kind, r.id FROM (SELECT DISTINCT tops FROM several) t CROSS JOIN on_feed r
GROUP BY t.tops, r.kind, r.id, r.site
HAVING list_contains(t.tops, (1, r.site)) OR bool_and(EXISTS (
    FROM up WHERE up.kind = 7 AND up.id = r.feed AND list_contains(t.tops, (above_kind, above))));

-- Meters of nodes below those of their rack.
CREATE TABLE node_meter AS
SELECT rack, meter FROM meters JOIN nodes ON subject = node WHERE level = 8;
CREATE TABLE rack_over_nodes AS
SELECT s.rack FROM rack_source s LEFT JOIN node_meter n ON s.kind = 12 AND n.meter = s.id
WHERE s.rack IN (SELECT rack FROM node_meter) GROUP BY s.rack HAVING bool_and(s.kind = 12) AND count(n.meter) = 0;

CREATE TABLE carried AS  -- (grp, role, kind, id)
SELECT DISTINCT 'device ' || near_kind || ' ' || near AS grp, 'meter' AS role, 12 AS kind, meter AS id
FROM load l JOIN income i ON i.kind = near_kind AND i.id = near
UNION ALL
SELECT 'device ' || near_kind || ' ' || near, unnest(['part', 'bounded']), kind, id FROM load
UNION ALL
SELECT DISTINCT 'several ' || tops::VARCHAR, 'meter', 12, meter FROM several JOIN income USING (kind, id)
UNION ALL
SELECT 'several ' || tops::VARCHAR, 'part', kind, id FROM inside
UNION ALL
SELECT 'several ' || tops::VARCHAR, 'bounded', kind, id FROM top JOIN rack_source USING (rack)
UNION ALL
SELECT 'nodes ' || rack, 'meter', kind, id FROM rack_over_nodes JOIN rack_source USING (rack)
UNION ALL
SELECT 'nodes ' || rack, unnest(['part', 'bounded']), 12, meter FROM rack_over_nodes JOIN node_meter USING (rack);

-- What loads below a device may draw without a meter, in mW by nameplate; a feed's or panel's wires alone carry what
-- is registered, and where one has no nameplate nobody knows.
CREATE TABLE unmetered_on_feed AS
SELECT feed, CASE WHEN count(*) = count(watts) THEN round(sum(watts) * 1000)::BIGINT END AS unmetered
FROM (
    SELECT f.feed, CASE WHEN s.rack IS NOT NULL OR w.ways = 1 THEN 0 ELSE nameplate_watts END AS watts
    FROM feed_racks f JOIN racks USING (rack) LEFT JOIN rack_ways w USING (rack)
    LEFT JOIN (SELECT DISTINCT rack, feed FROM rack_source) s ON s.rack = f.rack AND s.feed = f.feed
)
GROUP BY feed;
CREATE TABLE whole AS
SELECT 'device 7 ' || feed AS grp, unmetered FROM unmetered_on_feed WHERE unmetered IS NOT NULL
UNION ALL
SELECT 'device 8 ' || p.parent, sum(CASE WHEN m.id IS NOT NULL THEN 0 ELSE unmetered END)::BIGINT
FROM power p LEFT JOIN (SELECT DISTINCT kind, id FROM metered) m ON m.kind = p.kind AND m.id = p.id
LEFT JOIN unmetered_on_feed ON p.kind = 7 AND feed = p.id
WHERE p.parent_kind = 8 GROUP BY p.parent HAVING bool_and(m.id IS NOT NULL OR unmetered IS NOT NULL);

-- What a version counts: a subject's sources, and behind meters those and all that they carry.
CREATE TABLE counted_by AS
SELECT subject_kind, subject, kind, id FROM member
UNION
SELECT m.subject_kind, m.subject, c.kind, c.id
FROM member m JOIN carried b ON b.role = 'bounded' AND b.kind = m.kind AND b.id = m.id
JOIN carried c ON c.grp = b.grp AND c.role <> 'bounded' WHERE m.is_power;
