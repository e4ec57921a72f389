-- The queryable window, one row a value; can be made again from message. Integrity of channel_id and state_id is the
-- store's: a foreign key would cost more than the row. Days are made ahead and on demand (ingest.partition); there is
-- no default partition, because rows in one would forbid the day they belong to.
CREATE TABLE reading (
    time       timestamptz NOT NULL,
    value      double precision NOT NULL,
    channel_id integer NOT NULL,
    state_id   integer NOT NULL
) PARTITION BY RANGE (time);
CREATE UNIQUE INDEX reading_key ON reading (channel_id, time);
