-- The queryable window, one row a value; can be made again from message. Integrity of channel_id and state_id is the
-- store's: a foreign key would cost more than the row.
CREATE TABLE reading (
    time       timestamptz NOT NULL,
    value      double precision NOT NULL,
    channel_id integer NOT NULL,
    state_id   integer NOT NULL
);
SELECT create_hypertable('reading', 'time', chunk_time_interval => interval '1 day', create_default_indexes => false);
CREATE UNIQUE INDEX reading_key ON reading (channel_id, time);
