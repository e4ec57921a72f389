-- What the jobs make of it. Rows are never changed: a later run stands beside, and before, an earlier one.

CREATE TABLE qc_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made          timestamptz NOT NULL DEFAULT now(),
    inlet_id      integer NOT NULL REFERENCES inlet,
    covers        tstzrange NOT NULL CHECK (NOT isempty(covers)),  -- speaks for all of this time, also where it has no row
    code_version  text NOT NULL,
    configuration text NOT NULL,                                   -- digest
    inputs        jsonb NOT NULL,
    attributes    jsonb NOT NULL                                   -- {"co2": {"units", "scale"}, ...}
);
CREATE INDEX qc_run_covers ON qc_run USING gist (covers);

CREATE TABLE minute (
    time        timestamptz NOT NULL,               -- start of the interval
    value       double precision,                   -- NULL is missing, here and below
    stdev       double precision,
    n           integer,
    uncertainty double precision,
    u_random    double precision,
    u_shared    double precision,
    n_rejected  integer,
    cause       integer,
    inlet_id    integer NOT NULL REFERENCES inlet,
    run_id      bigint NOT NULL REFERENCES qc_run,
    flag        smallint NOT NULL,
    selection   smallint,
    species     text NOT NULL,
    PRIMARY KEY (inlet_id, species, time, run_id)
);

CREATE TABLE hour (LIKE minute, PRIMARY KEY (inlet_id, species, time, run_id));
ALTER TABLE hour ADD FOREIGN KEY (inlet_id) REFERENCES inlet, ADD FOREIGN KEY (run_id) REFERENCES qc_run;

-- A person's decision about data: never edited, only superseded.
CREATE TABLE manual_flag (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made          timestamptz NOT NULL DEFAULT now(),
    author        text NOT NULL CHECK (author <> ''),
    reason        text NOT NULL CHECK (reason <> ''),
    station_id    integer NOT NULL REFERENCES station,
    instrument_id integer REFERENCES instrument,    -- NULL: all of them
    inlet_id      integer REFERENCES inlet,         -- NULL: all of them
    quantity      text,                             -- NULL: all of them
    t_from        timestamptz NOT NULL,
    t_to          timestamptz NOT NULL,
    flag          smallint NOT NULL,
    supersedes    bigint UNIQUE REFERENCES manual_flag,
    CHECK (t_from < t_to)
);

CREATE TABLE inversion_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made          timestamptz NOT NULL DEFAULT now(),
    species       text NOT NULL,
    t_from        timestamptz NOT NULL,
    t_to          timestamptz NOT NULL,
    code_version  text NOT NULL,
    configuration text NOT NULL,                    -- digest
    inputs        jsonb NOT NULL,
    diagnostics   jsonb NOT NULL,
    findings      jsonb NOT NULL,
    CHECK (t_from < t_to)
);

-- One row a region and sector; covariance is the row of the joint posterior covariance, in the order of position.
CREATE TABLE posterior_region (
    run_id       bigint NOT NULL REFERENCES inversion_run,
    position     integer NOT NULL CHECK (position >= 0),
    region       text NOT NULL,                     -- ISO 3166-2, or a name of the run's own
    sector       text NOT NULL DEFAULT 'total',
    unit         text NOT NULL,
    prior        double precision NOT NULL,
    prior_sd     double precision NOT NULL CHECK (prior_sd >= 0),
    posterior    double precision NOT NULL,
    posterior_sd double precision NOT NULL CHECK (posterior_sd >= 0),
    covariance   double precision[] NOT NULL,
    PRIMARY KEY (run_id, position),
    UNIQUE (run_id, region, sector)
);

CREATE TABLE inventory_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL CHECK (source <> ''),
    version     text NOT NULL DEFAULT '',
    region      text NOT NULL,
    sector      text NOT NULL DEFAULT 'total',
    species     text NOT NULL,
    year        integer NOT NULL,
    value       double precision NOT NULL,
    uncertainty double precision CHECK (uncertainty >= 0),
    unit        text NOT NULL,
    made        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source, version, region, sector, species, year)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted: add one that supersedes', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON manual_flag
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
