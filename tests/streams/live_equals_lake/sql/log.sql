-- What came in time. The watermark of a partition is its newest event time; a reading of a second more than 10 s
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
