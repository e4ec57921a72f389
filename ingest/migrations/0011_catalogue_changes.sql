-- What was changed in the catalogue is never rewritten.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalogue_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Two stations may exchange their identifiers: what counts is what a transaction leaves.
ALTER TABLE station DROP CONSTRAINT station_wigos_key;
ALTER TABLE station ADD CONSTRAINT station_wigos_key UNIQUE (wigos) DEFERRABLE INITIALLY DEFERRED;
