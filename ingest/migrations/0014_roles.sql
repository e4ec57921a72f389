-- Who may do what: four roles without login, into which a server's users are put (`skyledger db user`). Where the
-- migrating user may not make roles, grant_roles() says so, and `skyledger db roles` does it later.
--   skyledger_ingest     takes messages in; owns `reading`, which can be made again, so that it can make its partitions
--   skyledger_qc         reads; writes minutes, hours and what quality control keeps; appends to the ledgers
--   skyledger_inventory  reads; appends inventories and inversions
--   skyledger_reader     reads
CREATE FUNCTION grant_roles() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    role text;
    part regclass;
BEGIN
    FOREACH role IN ARRAY ARRAY['skyledger_reader', 'skyledger_ingest', 'skyledger_qc', 'skyledger_inventory'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;

    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO skyledger_reader, skyledger_ingest, skyledger_qc,'
                   ' skyledger_inventory', current_database());
    GRANT USAGE ON SCHEMA public TO skyledger_reader, skyledger_ingest, skyledger_qc, skyledger_inventory;
    GRANT SELECT ON ALL TABLES IN SCHEMA public
        TO skyledger_reader, skyledger_ingest, skyledger_qc, skyledger_inventory;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public
        GRANT SELECT ON TABLES TO skyledger_reader, skyledger_ingest, skyledger_qc, skyledger_inventory;

    GRANT INSERT, UPDATE ON message, station_status, backfill, replacement, feed_cursor TO skyledger_ingest;
    GRANT INSERT, UPDATE, DELETE ON reading_aside, preview_hour, preview_day TO skyledger_ingest;
    GRANT INSERT ON state, event, channel TO skyledger_ingest;
    GRANT UPDATE (mark) ON state TO skyledger_ingest;        -- what is there already is touched to be returned,
    GRANT UPDATE (quantity) ON channel TO skyledger_ingest;  -- and not changed
    GRANT CREATE ON SCHEMA public TO skyledger_ingest;
    ALTER TABLE reading OWNER TO skyledger_ingest;
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'reading'::regclass
        AND inhrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO skyledger_ingest', part);
    END LOOP;

    GRANT INSERT, UPDATE, DELETE ON qc_run, minute, hour, injection, qc_series TO skyledger_qc;
    GRANT INSERT, UPDATE ON feed_cursor TO skyledger_qc;
    GRANT INSERT ON manual_flag, cylinder_correction TO skyledger_qc;

    GRANT INSERT ON inventory_entry, inversion_run, posterior_region TO skyledger_inventory;
    RETURN '';
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 'roles were not made: ' || SQLERRM || '; run `skyledger db roles` as a user who may make roles';
END $$;

SELECT grant_roles();
