-- The app's two users in MySQL. Run it as the administrator of the server, once or again, with mysql:
--
--   export LIBMYSQL_ENABLE_CLEARTEXT_PLUGIN=1
--   export MYSQL_PWD="$$(az account get-access-token --resource-type oss-rdbms --query accessToken --output tsv)"
--   mysql --host=${host} --user=<your name in Entra ID> --ssl-mode=VERIFY_IDENTITY --ssl-ca=/etc/ssl/certs/ca-certificates.crt < roles.sql
--
-- The app signs in with its identity: as strongroom_reader to query, and as strongroom_writer to execute.
SET aad_auth_validate_oids_in_tenant = OFF;
CREATE AADUSER IF NOT EXISTS 'strongroom_reader' IDENTIFIED BY '${identity_client_id}';
CREATE AADUSER IF NOT EXISTS 'strongroom_writer' IDENTIFIED BY '${identity_client_id}';

-- The reader may read tables. Without PROCESS it sees no session but those of its own name, without FILE no file, without
-- EXECUTE it runs no stored function, and without CREATE TEMPORARY TABLES it makes none.
GRANT SELECT, SHOW VIEW ON strongroom.* TO 'strongroom_reader'@'%';

-- The writer may also make tables. It cannot create or change users, itself included: both have no password, because they
-- sign in with Entra ID, and no role to choose from. It cannot change a setting of the server.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, SHOW VIEW ON strongroom.* TO 'strongroom_writer'@'%';

-- So that neither takes every connection of the server.
ALTER USER 'strongroom_reader'@'%' WITH MAX_USER_CONNECTIONS 200;
ALTER USER 'strongroom_writer'@'%' WITH MAX_USER_CONNECTIONS 100;
