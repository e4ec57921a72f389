-- Two clones of a spool, or a log that is read again, say the same event in messages of different numbers: once is
-- enough. Both messages stay.
DELETE FROM event a USING event b
WHERE a.instrument_id = b.instrument_id AND a.time = b.time AND a.event = b.event AND a.detail = b.detail AND a.id > b.id;
CREATE UNIQUE INDEX event_natural ON event (instrument_id, time, event, md5(detail::text));
DROP INDEX event_time;
