-- What came in, as it came, and what became of it.

-- The permanent raw: every payload that was acknowledged, once. Also the dead-letter box (state 'aside') and the
-- change feed (xid).
CREATE TABLE message (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    station       text NOT NULL,                  -- station, instrument and kind are the topic's levels
    instrument    text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('data', 'event')),
    digest        bytea NOT NULL CHECK (octet_length(digest) = 16),
    spool         text,                           -- NULL where the payload does not say it
    seq           bigint,
    received      timestamptz NOT NULL DEFAULT now(),
    t_from        timestamptz,                    -- first and last time in it; NULL where it has none that can be
    t_to          timestamptz,
    readings      integer NOT NULL DEFAULT 0,     -- values in it that belong in reading
    instrument_id integer REFERENCES instrument,  -- whose they are, after mending
    state         text NOT NULL CHECK (state IN ('stored', 'aside', 'discarded')),
    reason        text,
    mend          jsonb NOT NULL DEFAULT '[]',    -- [{"who", "when", "why", "what": {...}}, ...], applied on reading
    payload       bytea NOT NULL,
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id(),  -- transaction that last changed the state
    UNIQUE (station, digest),
    UNIQUE (station, spool, seq),
    CHECK ((state = 'stored') = (instrument_id IS NOT NULL)),
    CHECK ((state = 'stored') = (reason IS NULL)),
    CHECK (state <> 'stored' OR readings = 0 OR (t_from IS NOT NULL AND t_to IS NOT NULL))
);
-- Payloads are compressed already.
ALTER TABLE message ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX message_feed ON message (xid) WHERE state = 'stored';
CREATE INDEX message_aside ON message (station, id) WHERE state = 'aside';
-- Rows come in nearly in the order of their times: a summary of each stretch of the table finds a window.
CREATE INDEX message_window ON message USING brin (t_from, t_to) WITH (pages_per_range = 16, autosummarize = on);

-- Dictionary of what an instrument said about a sample beside its values.
CREATE TABLE state (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    port   text,
    status bigint,
    mark   bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (port, status, mark)
);

-- Values whose (channel, time) had another value, or another state, already: kept row by row, beside what stands.
CREATE TABLE reading_aside (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time       timestamptz NOT NULL,
    value      double precision NOT NULL,
    channel_id integer NOT NULL REFERENCES channel,
    state_id   integer NOT NULL REFERENCES state,
    message_id bigint NOT NULL REFERENCES message,
    kept       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, channel_id, time, value, state_id)
);
CREATE INDEX reading_aside_key ON reading_aside (channel_id, time);

-- What happened at a station: calibration started, valve moved, maintenance, readings lost to a quota.
CREATE TABLE event (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    bigint NOT NULL UNIQUE REFERENCES message,
    instrument_id integer NOT NULL REFERENCES instrument,
    time          timestamptz NOT NULL,
    event         text NOT NULL,
    detail        jsonb NOT NULL
);
CREATE INDEX event_time ON event (instrument_id, time);

-- The last word of each station about itself.
CREATE TABLE station_status (
    station  text PRIMARY KEY,
    received timestamptz NOT NULL DEFAULT now(),
    status   jsonb NOT NULL
);

-- How far each consumer of the change feed has read: everything below this transaction is consumed.
CREATE TABLE feed_cursor (
    consumer text PRIMARY KEY,
    xid      xid8 NOT NULL DEFAULT '0',
    moved    timestamptz NOT NULL DEFAULT now()
);
