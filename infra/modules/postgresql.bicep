metadata description = 'PostgreSQL without passwords: people and the app sign in with Entra ID.'

import { tagSet } from 'types.bicep'

@description('Required. Server name.')
param name string

@description('Required. Database on the server.')
param databaseName string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Address ranges that may connect, besides the app, which uses the private endpoint.')
param allowedIpRanges string[]

@description('Required. No public endpoint.')
param privateNetwork bool

@description('Required. Object id of the administrator.')
param administratorId string

@description('Required. Name of the administrator, as Entra ID knows it.')
param administratorName string

@description('Required. Kind of the administrator.')
param administratorType ('User' | 'Group' | 'ServicePrincipal')

@description('Required. Days of backup.')
param retentionDays int

@description('Required. A lock that forbids to delete the server.')
param lock bool

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: 'Standard_B1ms', tier: 'Burstable' }
  properties: {
    version: '17'
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: tenant().tenantId
    }
    storage: { storageSizeGB: 32, autoGrow: 'Enabled' }
    backup: { backupRetentionDays: retentionDays, geoRedundantBackup: 'Disabled' }
    network: { publicNetworkAccess: privateNetwork || empty(allowedIpRanges) ? 'Disabled' : 'Enabled' }
  }

  // One after the other: the server accepts one change at a time.
  resource administrator 'administrators' = {
    name: administratorId
    properties: {
      principalName: administratorName
      principalType: administratorType
      tenantId: tenant().tenantId
    }
  }

  resource database 'databases' = {
    name: databaseName
    dependsOn: [administrator]
    properties: { charset: 'UTF8' }
  }

  resource onlyTls 'configurations' = {
    name: 'require_secure_transport'
    dependsOn: [database]
    properties: { value: 'on', source: 'user-override' }
  }

  resource minimumTls 'configurations' = {
    name: 'ssl_min_protocol_version'
    dependsOn: [onlyTls]
    properties: { value: 'TLSv1.2', source: 'user-override' }
  }
}

@batchSize(1)
resource rules 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2025-08-01' = [
  for range in privateNetwork ? [] : allowedIpRanges: {
    parent: server
    name: 'allow-${replace(replace(range, '.', '-'), '/', '-')}'
    dependsOn: [server::minimumTls]
    properties: { startIpAddress: parseCidr(range).network, endIpAddress: parseCidr(range).broadcast }
  }
]

resource keep 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  scope: server
  name: 'keep'
  dependsOn: [server::minimumTls]
  properties: { level: 'CanNotDelete', notes: 'Holds the data of Strongroom.' }
}

@description('Server id.')
output id string = server.id
