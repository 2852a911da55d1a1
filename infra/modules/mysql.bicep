metadata description = 'MySQL that accepts only sign-in with Entra ID; nobody can use the password that Azure requires at creation.'

import { tagSet } from 'types.bicep'

@description('Required. Server name.')
param name string

@description('Required. Name of the identity that the server reads the directory with.')
param identityName string

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

@description('Required. A random password for a new server; nobody can sign in with it. Empty for an existing server, which keeps its password.')
@secure()
param unusedPassword string

@description('Required. Days of backup.')
param retentionDays int

@description('Required. A lock that forbids to delete the server.')
param lock bool

// Not the app's identity: this one reads the directory.
resource directoryReader 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: identityName
  location: location
  tags: tags
}

resource server 'Microsoft.DBforMySQL/flexibleServers@2024-12-30' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${directoryReader.id}': {} }
  }
  sku: { name: 'Standard_B1ms', tier: 'Burstable' }
  properties: {
    version: '8.4'
    administratorLogin: 'unused'
    administratorLoginPassword: empty(unusedPassword) ? null : unusedPassword
    storage: { storageSizeGB: 20, autoGrow: 'Enabled' }
    backup: { backupRetentionDays: retentionDays, geoRedundantBackup: 'Disabled' }
    network: { publicNetworkAccess: privateNetwork || empty(allowedIpRanges) ? 'Disabled' : 'Enabled' }
  }

  // One after the other: the server accepts one change at a time.
  resource administrator 'administrators' = {
    name: 'ActiveDirectory'
    properties: {
      administratorType: 'ActiveDirectory'
      identityResourceId: directoryReader.id
      login: administratorName
      sid: administratorId
      tenantId: tenant().tenantId
    }
  }

  resource noPasswords 'configurations' = {
    name: 'aad_auth_only'
    dependsOn: [administrator]
    properties: { value: 'ON', source: 'user-override' }
  }

  resource onlyTls 'configurations' = {
    name: 'require_secure_transport'
    dependsOn: [noPasswords]
    properties: { value: 'ON', source: 'user-override' }
  }

  resource minimumTls 'configurations' = {
    name: 'tls_version'
    dependsOn: [onlyTls]
    properties: { value: 'TLSv1.2,TLSv1.3', source: 'user-override' }
  }

  resource database 'databases' = {
    name: databaseName
    dependsOn: [minimumTls]
    properties: { charset: 'utf8mb4', collation: 'utf8mb4_0900_ai_ci' }
  }
}

@batchSize(1)
resource rules 'Microsoft.DBforMySQL/flexibleServers/firewallRules@2024-12-30' = [
  for range in privateNetwork ? [] : allowedIpRanges: {
    parent: server
    name: 'allow-${replace(replace(range, '.', '-'), '/', '-')}'
    dependsOn: [server::database]
    properties: { startIpAddress: parseCidr(range).network, endIpAddress: parseCidr(range).broadcast }
  }
]

resource keep 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  scope: server
  name: 'keep'
  dependsOn: [server::database]
  properties: { level: 'CanNotDelete', notes: 'Holds the data of Strongroom.' }
}

@description('Server id.')
output id string = server.id
