-- A flag by hand may be for one position of the valve; jobs hear of it by the change feed, as of new readings.
ALTER TABLE manual_flag ADD port text CHECK (port <> '');          -- NULL: all of them
ALTER TABLE manual_flag ADD xid xid8 NOT NULL DEFAULT pg_current_xact_id();
ALTER TABLE manual_flag ADD CHECK (flag IN (1, 2, 3, 4));          -- QARTOD; 2 withdraws what it supersedes
CREATE INDEX manual_flag_feed ON manual_flag (xid);
CREATE INDEX manual_flag_window ON manual_flag (station_id, t_from);

-- What flowed through a position of the valve was another cylinder than was written down.
CREATE TABLE cylinder_correction (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made       timestamptz NOT NULL DEFAULT now(),
    author     text NOT NULL CHECK (author <> ''),
    reason     text NOT NULL CHECK (reason <> ''),
    station_id integer NOT NULL REFERENCES station,
    t_from     timestamptz NOT NULL,
    t_to       timestamptz NOT NULL,
    said       text NOT NULL CHECK (said <> ''),
    was        text NOT NULL CHECK (was <> ''),
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CHECK (t_from < t_to)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cylinder_correction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
