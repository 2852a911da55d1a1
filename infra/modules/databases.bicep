import { databaseServer } from 'types.bicep'

@export()
@description('The database server of each engine, by the names of the servers and of the database on them, and by the domains of the cloud.')
func databases(
  postgresqlName string,
  mysqlName string,
  databaseName string,
  postgresqlSuffix string,
  mysqlSuffix string
) {
  *: databaseServer
} => {
  // Without a server, the app reads a SQLite file from storage.
  none: { name: '', host: '', url: '', port: '', type: '', group: '', zone: '' }
  postgresql: {
    name: postgresqlName
    host: '${postgresqlName}.${postgresqlSuffix}'
    // The token is sent as a password, so the app checks the server's name and its certificate against Debian's authorities.
    url: 'postgresql://{0}@{1}:5432/${databaseName}?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt'
    port: '5432'
    type: 'Microsoft.DBforPostgreSQL/flexibleServers'
    group: 'postgresqlServer'
    zone: 'privatelink.${postgresqlSuffix}'
  }
  mysql: {
    name: mysqlName
    host: '${mysqlName}.${mysqlSuffix}'
    url: 'mysql://{0}@{1}:3306/${databaseName}'
    port: '3306'
    type: 'Microsoft.DBforMySQL/flexibleServers'
    group: 'mysqlServer'
    zone: 'privatelink.${mysqlSuffix}'
  }
}
