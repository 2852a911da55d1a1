-- The app's two users in MySQL. Run it as the administrator of the server, once or again, with mysql:
--
--   export LIBMYSQL_ENABLE_CLEARTEXT_PLUGIN=1
--   export MYSQL_PWD="$$(az account get-access-token --resource-type oss-rdbms --query accessToken --output tsv)"
--   mysql --host=${host} --user=<your name in Entra ID> --ssl-mode=VERIFY_IDENTITY --ssl-ca=/etc/ssl/certs/ca-certificates.crt < roles.sql
--
-- Both are the app's identity: it signs in as the reader to query, and as the writer to execute.
SET aad_auth_validate_oids_in_tenant = OFF;
CREATE AADUSER IF NOT EXISTS 'strongroom_reader' IDENTIFIED BY '${identity_client_id}';
CREATE AADUSER IF NOT EXISTS 'strongroom_writer' IDENTIFIED BY '${identity_client_id}';

-- The reader may read, and nothing else.
GRANT SELECT, SHOW VIEW ON strongroom.* TO 'strongroom_reader'@'%';

-- The writer may also make tables.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, SHOW VIEW ON strongroom.* TO 'strongroom_writer'@'%';
