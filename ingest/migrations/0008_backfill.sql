-- Files that were filled in afterwards, and how far each has come.
CREATE TABLE backfill (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest     bytea NOT NULL CHECK (octet_length(digest) = 16),  -- of the file
    file       text NOT NULL,                                     -- its name
    station    text NOT NULL,
    target     text NOT NULL,                                     -- instrument, or inlet of an archive's means
    format     text NOT NULL,
    started    timestamptz NOT NULL DEFAULT now(),
    finished   timestamptz,
    messages   bigint NOT NULL DEFAULT 0,                         -- committed so far
    rows_new   bigint NOT NULL DEFAULT 0,
    rows_same  bigint NOT NULL DEFAULT 0,
    rows_aside bigint NOT NULL DEFAULT 0,
    UNIQUE (digest, station, target)
);
-- What such a file took the place of, and why: never changed.
CREATE TABLE replacement (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    backfill_id bigint NOT NULL REFERENCES backfill,
    made        timestamptz NOT NULL DEFAULT now(),
    who         text NOT NULL CHECK (who <> ''),
    why         text NOT NULL CHECK (why <> ''),
    first       timestamptz NOT NULL,                             -- window, from (included)
    until       timestamptz NOT NULL                              -- to (excluded)
);
