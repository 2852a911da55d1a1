-- The app's roles in PostgreSQL. Run it as the administrator of the server, once or again, with psql:
--
--   export PGPASSWORD="$$(az account get-access-token --resource-type oss-rdbms --query accessToken --output tsv)"
--   psql "host=${host} user=<your name in Entra ID> dbname=postgres sslmode=verify-full sslrootcert=system" --file roles.sql
--
-- The app signs in with its identity: as strongroom_reader to query, and as strongroom_writer to execute.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\pset tuples_only on
\pset format unaligned

SELECT pgaadauth_create_principal_with_oid('strongroom_reader', '${identity_principal_id}', 'service', false, false)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strongroom_reader');
SELECT pgaadauth_create_principal_with_oid('strongroom_writer', '${identity_principal_id}', 'service', false, false)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strongroom_writer');
-- This role owns the tables, and nobody signs in as it.
SELECT 'CREATE ROLE strongroom_tables NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strongroom_tables')
\gexec
GRANT strongroom_tables TO strongroom_writer, CURRENT_USER;

\connect strongroom

-- Runs a statement that not every administrator may run: Azure's is not a superuser.
CREATE OR REPLACE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS '
BEGIN
  EXECUTE statement;
  RETURN ''Done: '' || statement;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN ''NOT DONE, only a superuser may: '' || statement;
END';

REVOKE ALL ON DATABASE strongroom FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE strongroom TO strongroom_reader, strongroom_writer;

-- The reader may read tables. It may not write, and not create temporary tables.
GRANT USAGE ON SCHEMA public TO strongroom_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO strongroom_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO strongroom_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE strongroom_tables IN SCHEMA public GRANT SELECT ON TABLES TO strongroom_reader;

-- The writer works as strongroom_tables from the moment that it signs in, so a caller cannot change the password and the
-- settings of the role that signs in: ALTER ROLE then needs rights that strongroom_tables does not have.
GRANT USAGE, CREATE ON SCHEMA public TO strongroom_tables;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO strongroom_tables;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO strongroom_tables;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO strongroom_tables;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO strongroom_tables;
SELECT pg_temp.attempt('ALTER ROLE strongroom_writer SET role = strongroom_tables');

-- Limits of every session. The app sets a shorter time limit for each call.
SELECT pg_temp.attempt(format('ALTER ROLE %I SET %s', name, setting))
FROM unnest(ARRAY['strongroom_reader', 'strongroom_writer']) AS name,
  unnest(ARRAY[
    'statement_timeout = ''10min''',
    'idle_in_transaction_session_timeout = ''2min''',
    -- Each sort and each hash of a statement may take this much memory, and no other processes help.
    'work_mem = ''16MB''',
    'hash_mem_multiplier = 1',
    'max_parallel_workers_per_gather = 0',
    -- Beyond it a statement that sorts or hashes on disk fails.
    'temp_file_limit = ''1GB'''
  ]) AS setting;
SELECT pg_temp.attempt('ALTER ROLE strongroom_reader SET default_transaction_read_only = on');

-- Functions that write in a read-only transaction, end or watch other sessions, or run a text. Each database has its own
-- rights on them. set_config is not here: the app sets its limits with it.
CREATE OR REPLACE TEMPORARY VIEW risky AS
SELECT oid::regprocedure::text AS signature, oid FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND (
  proname ~ '^(lo_|loread$$|lowrite$$)'
  OR proname ~ '^(query|cursor|table|schema|database)_to_xml'
  OR proname IN (
    'pg_logical_emit_message', 'pg_notify', 'pg_export_snapshot', 'pg_current_xact_id', 'txid_current',
    'pg_terminate_backend', 'pg_cancel_backend', 'pg_stat_get_activity', 'pg_stat_get_backend_activity',
    'ts_stat', 'setseed'
  )
  OR oid = to_regprocedure('ts_rewrite(tsquery,text)')
);
SET client_min_messages = error;
SELECT pg_temp.attempt(format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', signature)) FROM risky \g /dev/null
SELECT pg_temp.attempt('REVOKE SELECT ON pg_stat_activity FROM PUBLIC') \g /dev/null
RESET client_min_messages;

-- What is left, because only a superuser may revoke it. The app refuses most of it in the text of a call.
SELECT 'LEFT, only a superuser may revoke it from the reader: ' || string_agg(signature, ', ' ORDER BY signature)
FROM (
  SELECT signature FROM risky WHERE has_function_privilege('strongroom_reader', oid, 'EXECUTE')
  UNION ALL
  SELECT 'pg_stat_activity' WHERE has_table_privilege('strongroom_reader', 'pg_stat_activity', 'SELECT')
) AS remaining HAVING count(*) > 0;
