-- Who measures what, where: stations, inlets, instruments, channels, cylinders.
-- What may change over time carries the time from which (included) until which (excluded) it holds.

CREATE TABLE station (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    title      text NOT NULL DEFAULT '',
    latitude   double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),      -- degrees north
    longitude  double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),   -- degrees east
    altitude   double precision NOT NULL CHECK (altitude BETWEEN -500 AND 9000),   -- ground above sea level, m
    region     text,                                                               -- ISO 3166-2
    time_zone  text,                                                               -- IANA
    valid_from timestamptz NOT NULL DEFAULT '-infinity',
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to)
);

CREATE TABLE inlet (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    station_id integer NOT NULL REFERENCES station,
    name       text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    height     double precision NOT NULL,                                          -- above ground, m
    valid_from timestamptz NOT NULL DEFAULT '-infinity',
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to),
    UNIQUE (station_id, name)
);

CREATE TABLE instrument (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    station_id integer NOT NULL REFERENCES station,
    name       text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    model      text NOT NULL DEFAULT '',
    serial     text NOT NULL DEFAULT '',
    driver     text NOT NULL DEFAULT '',
    valid_from timestamptz NOT NULL DEFAULT '-infinity',
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to),
    UNIQUE (station_id, name)
);

-- Which inlet a valve position draws from; port NULL is an instrument without a valve.
CREATE TABLE instrument_port (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id integer NOT NULL REFERENCES instrument,
    port          text CHECK (port <> ''),
    inlet_id      integer NOT NULL REFERENCES inlet,
    valid_from    timestamptz NOT NULL DEFAULT '-infinity',
    valid_to      timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to),
    UNIQUE NULLS NOT DISTINCT (instrument_id, port, valid_from)
);

-- One quantity of one instrument; made when its first value comes in.
CREATE TABLE channel (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id integer NOT NULL REFERENCES instrument,
    quantity      text NOT NULL,
    unit          text NOT NULL,
    created       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (instrument_id, quantity)
);

-- A standard or target gas: its assigned value on a scale, and when that value holds.
CREATE TABLE cylinder (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    species     text NOT NULL,
    value       double precision NOT NULL,
    unit        text NOT NULL,
    uncertainty double precision CHECK (uncertainty >= 0),
    scale       text NOT NULL CHECK (scale <> ''),
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to),
    UNIQUE (name, species, valid_from)
);
