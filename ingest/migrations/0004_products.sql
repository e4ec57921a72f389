-- What the jobs make of it. Rows are never changed: a later run stands beside, and before, an earlier one.

CREATE TABLE qc_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made          timestamptz NOT NULL DEFAULT now(),
    inlet_id      integer NOT NULL REFERENCES inlet,
    covers        tstzrange CHECK (NOT isempty(covers)),  -- the run speaks for all of it, also where it has no row
    code_version  text NOT NULL,
    configuration text NOT NULL,                          -- digest
    inputs        jsonb NOT NULL,
    gases         jsonb NOT NULL                          -- {"co2": {"units": ..., "scale": ...}, ...}
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

-- What a statistical inventory says: region (ISO 3166-2), category (IPCC 2006 code, '0' the total), a period of whole
-- days. Where there is no value there is a notation key (NE, NO, IE, C ...), never a zero.
CREATE TABLE inventory_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL CHECK (source <> ''),
    vintage     text NOT NULL DEFAULT '',
    region      text NOT NULL,
    category    text NOT NULL DEFAULT '0',
    species     text NOT NULL,
    first_day   date NOT NULL,
    last_day    date NOT NULL CHECK (last_day >= first_day),
    value       double precision,
    sigma       double precision CHECK (sigma >= 0),
    unit        text NOT NULL,
    notation    text NOT NULL DEFAULT '',
    made        timestamptz NOT NULL DEFAULT now(),
    CHECK (value IS NOT NULL OR notation <> ''),
    UNIQUE (source, vintage, region, category, species, first_day, last_day)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted: add one that supersedes', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON manual_flag
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
