-- Who makes the roles and is no superuser has to be able to be them: it gives `reading` to one, and drops its days. Who
-- makes a role on PostgreSQL 16 or newer may only give it away unless createrole_self_grant says more, and on 15 is no
-- member of it at all: so it is made one here, whatever the server's configuration is.
ALTER FUNCTION grant_roles() RENAME TO grant_rights;

CREATE FUNCTION grant_roles() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['skyledger_reader', 'skyledger_ingest', 'skyledger_qc', 'skyledger_inventory'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        IF NOT pg_has_role(current_user, role, 'USAGE') THEN
            EXECUTE format('GRANT %I TO %I', role, current_user);
        END IF;
    END LOOP;
    RETURN grant_rights();
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 'roles were not made: ' || SQLERRM || '; run `skyledger db roles` as a user who may make roles';
END $$;

SELECT grant_roles();
