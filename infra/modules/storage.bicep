metadata description = 'The storage account: tables and blobs of the app, and the package that is deployed.'

import { tagSet } from 'types.bicep'

@description('Required. Account name.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. How many copies, and where.')
param redundancy string

@description('Required. Addresses and ranges let in, as storage wants them; empty closes the account.')
param allowedIpRanges string[]

@description('Required. Subnet let in by service endpoint; empty where there are private endpoints.')
param allowedSubnetId string

@description('Required. No public endpoint at all.')
param privateNetwork bool

@description('Required. The app reads and writes as this principal.')
param principalId string

@description('Required. Id of that identity; names the role assignments.')
param identityId string

@description('Required. Diagnostics go here.')
param workspaceId string

@description('Required. Container of the deployed package.')
param packageContainer string

@description('Required. Container of the SQLite datasets that the app reads.')
param datasetContainer string

@description('Required. Days that blobs can be taken back to.')
param retentionDays int

@description('Required. Keep the account from being deleted.')
param lock bool

resource account 'Microsoft.Storage/storageAccounts@2026-04-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isLocalUserEnabled: false
    isSftpEnabled: false
    isNfsV3Enabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: 'Deny'
      ipRules: [for range in privateNetwork ? [] : allowedIpRanges: { action: 'Allow', value: range }]
      virtualNetworkRules: empty(allowedSubnetId) ? [] : [{ action: 'Allow', id: allowedSubnetId }]
    }
    encryption: {
      keySource: 'Microsoft.Storage'
      requireInfrastructureEncryption: true
      services: {
        blob: { enabled: true, keyType: 'Account' }
        table: { enabled: true, keyType: 'Account' }
        queue: { enabled: true, keyType: 'Account' }
      }
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      isVersioningEnabled: true
      changeFeed: { enabled: true, retentionInDays: retentionDays + 1 }
      // Restoring to a point in time needs a day more of soft delete than it reaches back.
      deleteRetentionPolicy: { enabled: true, days: retentionDays + 1, allowPermanentDelete: false }
      containerDeleteRetentionPolicy: { enabled: true, days: retentionDays + 1 }
      restorePolicy: { enabled: true, days: retentionDays }
    }

    resource package 'containers' = {
      name: packageContainer
      properties: { publicAccess: 'None' }
    }

    resource datasets 'containers' = {
      name: datasetContainer
      properties: { publicAccess: 'None' }
    }
  }

  resource tables 'tableServices' = {
    name: 'default'
  }

  // Versions live, and cost, until something deletes them.
  resource lifecycle 'managementPolicies' = {
    name: 'default'
    // Both write to the blob service.
    dependsOn: [blobs]
    properties: {
      policy: {
        rules: [
          {
            enabled: true
            name: 'old-versions'
            type: 'Lifecycle'
            definition: {
              actions: {
                version: { delete: { daysAfterCreationGreaterThan: retentionDays + 1 } }
                snapshot: { delete: { daysAfterCreationGreaterThan: retentionDays + 1 } }
              }
              filters: { blobTypes: ['blockBlob'] }
            }
          }
        ]
      }
    }
  }
}

var roles = [
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner: what the Functions host asks for on its storage
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor: the app's system of record
]

resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in roles: {
    scope: account
    name: guid(account.id, identityId, role)
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

// There is no later version than this preview.
#disable-next-line use-recent-api-versions
resource blobDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account::blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'StorageWrite', enabled: true }, { category: 'StorageDelete', enabled: true }]
  }
}

// There is no later version than this preview.
#disable-next-line use-recent-api-versions
resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account::tables
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'StorageWrite', enabled: true }, { category: 'StorageDelete', enabled: true }]
  }
}

resource keep 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  scope: account
  name: 'keep'
  properties: { level: 'CanNotDelete', notes: 'Holds the keys and data of Strongroom. Tables have no backup.' }
}

@description('Account id.')
output id string = account.id
