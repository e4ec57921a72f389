-- What quality control says of a mean: the outcome of every test, the part of the uncertainty that comes from
-- calibration, whether the next calibration may change it, and the means without spikes.
ALTER TABLE minute ADD tests bigint, ADD u_calibration double precision, ADD provisional smallint,
    ADD without_sd double precision, ADD without_rebs double precision;
ALTER TABLE hour ADD tests bigint, ADD u_calibration double precision, ADD provisional smallint,
    ADD without_sd double precision, ADD without_rebs double precision;

-- What cylinders showed at an instrument, as the QC job last found it: made again from the readings where these change.
CREATE TABLE injection (
    instrument_id integer NOT NULL REFERENCES instrument,
    species       text NOT NULL,
    cylinder      text NOT NULL CHECK (cylinder <> ''),
    t_from        timestamptz NOT NULL,             -- first and last row that counts
    t_to          timestamptz NOT NULL,
    mean          double precision NOT NULL,        -- dry, uncalibrated
    stdev         double precision,                 -- of the minutes, NULL for a single one
    minutes       integer NOT NULL CHECK (minutes > 0),
    PRIMARY KEY (instrument_id, species, t_from)
);

-- What the QC job last evaluated a series with: where it differs, the series is evaluated again.
CREATE TABLE qc_series (
    instrument_id integer NOT NULL REFERENCES instrument,
    inlet_id      integer NOT NULL REFERENCES inlet,
    settings      text NOT NULL,                    -- digest of all but the cylinders
    cylinders     jsonb NOT NULL,                   -- which hung where, when, and what they hold
    problem       text NOT NULL DEFAULT '',         -- why it could not be evaluated
    PRIMARY KEY (instrument_id, inlet_id)
);
CREATE INDEX cylinder_correction_feed ON cylinder_correction (xid);
