-- The app's two roles in PostgreSQL. Run it as the administrator of the server, once or again, with psql:
--
--   export PGPASSWORD="$$(az account get-access-token --resource-type oss-rdbms --query accessToken --output tsv)"
--   psql "host=${host} user=<your name in Entra ID> dbname=postgres sslmode=verify-full sslrootcert=system" --file roles.sql
--
-- Both are the app's identity: it signs in as the reader to query, and as the writer to execute.
\set ON_ERROR_STOP on

SELECT * FROM pgaadauth_create_principal_with_oid('strongroom_reader', '${identity_principal_id}', 'service', false, false)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strongroom_reader');
SELECT * FROM pgaadauth_create_principal_with_oid('strongroom_writer', '${identity_principal_id}', 'service', false, false)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'strongroom_writer');

\connect strongroom

-- The reader may read, and nothing else: no writing, no temporary tables.
REVOKE ALL ON DATABASE strongroom FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE strongroom TO strongroom_reader, strongroom_writer;
GRANT USAGE ON SCHEMA public TO strongroom_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO strongroom_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO strongroom_reader;

-- The writer may also make tables.
GRANT USAGE, CREATE ON SCHEMA public TO strongroom_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO strongroom_writer;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO strongroom_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO strongroom_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO strongroom_writer;

-- These defaults hold for what the administrator makes. For the tables that the writer makes, let it say so itself, once,
-- by execute-sql: ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO strongroom_reader
