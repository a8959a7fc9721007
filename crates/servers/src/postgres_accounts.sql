-- Who may do what on a PostgreSQL server that serves the sale and nobody else.
--
--   the superuser     makes databases and roles; no process of ours uses it
--   flashsale_owner   owns the database and all that is in it: migrates
--   flashsale         reads and writes rows, calls functions, and makes nothing
--
-- A superuser runs this in the sale's database, as often as he likes: what stands already stays. The passwords come in
-- the settings `password.flashsale` and `password.flashsale_owner`; one that is not given stays as it was.

DO $$
DECLARE
    role      text;
    password  text;
    statement text;
BEGIN
    -- 1. On older servers the superuser has the name that is the processes' now. Nobody can rename himself.
    IF EXISTS (SELECT FROM pg_roles WHERE oid = 10 AND rolname = 'flashsale') THEN
        CREATE ROLE flashsale_renamer SUPERUSER;
        SET SESSION AUTHORIZATION flashsale_renamer;
        ALTER ROLE flashsale RENAME TO postgres;
        SET SESSION AUTHORIZATION postgres;
        DROP ROLE flashsale_renamer;
    END IF;

    -- 2. The two roles.
    FOREACH role IN ARRAY ARRAY['flashsale_owner', 'flashsale'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
        password := current_setting('password.' || role, true);
        IF password <> '' THEN
            EXECUTE format('ALTER ROLE %I PASSWORD %L', role, password);
        END IF;
    END LOOP;

    -- 3. The database, and what an older server's superuser has made in it.
    FOR statement IN
        SELECT format('ALTER DATABASE %I OWNER TO flashsale_owner', current_database())
        UNION ALL
        SELECT format('ALTER TABLE %s OWNER TO flashsale_owner', oid::regclass)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO flashsale_owner', oid::regprocedure)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    LOOP
        EXECUTE statement;
    END LOOP;

    -- 4. Nobody else comes in, and nobody of ours goes to the other databases.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO flashsale', current_database());
END $$;

REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;

-- 5. What is in the database, now and after any migration. Every role may call functions, which is PostgreSQL's
--    default; they run with the rights of whoever calls them.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO flashsale_owner;
GRANT USAGE ON SCHEMA public TO flashsale;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO flashsale;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO flashsale;
ALTER DEFAULT PRIVILEGES FOR ROLE flashsale_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flashsale;
ALTER DEFAULT PRIVILEGES FOR ROLE flashsale_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO flashsale;
