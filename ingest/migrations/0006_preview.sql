-- Roll-ups for screens only: whatever an instrument said, whole hours and days (UTC), before any quality control. They
-- outlive the readings they were made of.
CREATE TABLE preview_hour (
    time       timestamptz NOT NULL,     -- start of the hour
    channel_id integer NOT NULL REFERENCES channel,
    n          integer NOT NULL CHECK (n > 0),
    mean       double precision NOT NULL,
    low        double precision NOT NULL,
    high       double precision NOT NULL,
    PRIMARY KEY (channel_id, time)
);
CREATE TABLE preview_day (LIKE preview_hour, PRIMARY KEY (channel_id, time));
ALTER TABLE preview_day ADD FOREIGN KEY (channel_id) REFERENCES channel;
