metadata description = 'A storage account: no shared keys, no public blobs, open to the app and the allow-list alone.'

import { tagSet } from 'types.bicep'

@description('Required. Account name.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Number of copies, and in which zones and regions.')
param redundancy string

@description('Required. Addresses and ranges that may call the account, as storage takes them; empty closes it.')
param allowedIpRanges string[]

@description('Required. Subnet that reaches the account by service endpoint; empty if it has private endpoints.')
param allowedSubnetId string

@description('Required. No public endpoint.')
param privateNetwork bool

@description('Required. Principal that gets the roles. It names the role assignments too, so that those of a deleted identity do not collide.')
param principalId string

@description('Required. Ids of the roles of that principal on this account.')
param roles string[]

@description('Required. Diagnostic logs go to this workspace.')
param workspaceId string

@description('Required. Containers to create.')
param containers string[]

@description('Required. Origins of pages that may upload by a signed URL; empty allows no page to call the account.')
param uploadOrigins string[]

@description('Required. Whether the app keeps tables here.')
param tables bool

@description('Required. Days that blobs can be restored to, with versions and a point-in-time restore; 0 keeps deleted blobs for a week, without versions.')
param retentionDays int

@description('Required. Whether reads of blobs are logged, besides writes and deletions.')
param logReads bool

@description('Required. Reason of a lock that forbids to delete the account; empty sets none.')
param lockNotes string

var restorable = retentionDays > 0

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
      isVersioningEnabled: restorable
      cors: {
        corsRules: empty(uploadOrigins)
          ? []
          : [
              {
                allowedOrigins: uploadOrigins
                allowedMethods: ['PUT']
                allowedHeaders: ['content-type', 'x-ms-blob-type']
                exposedHeaders: []
                maxAgeInSeconds: 3600
              }
            ]
      }
      changeFeed: restorable ? { enabled: true, retentionInDays: retentionDays + 1 } : { enabled: false }
      // A restore to a point in time needs a day more of soft delete than it reaches back.
      deleteRetentionPolicy: {
        enabled: true
        days: restorable ? retentionDays + 1 : 7
        allowPermanentDelete: false
      }
      containerDeleteRetentionPolicy: { enabled: true, days: restorable ? retentionDays + 1 : 7 }
      restorePolicy: restorable ? { enabled: true, days: retentionDays } : { enabled: false }
    }

    resource each 'containers' = [
      for container in containers: {
        name: container
        properties: { publicAccess: 'None' }
      }
    ]
  }

  resource tableService 'tableServices' = if (tables) {
    name: 'default'
  }

  // Versions live, and cost, until a rule deletes them.
  resource lifecycle 'managementPolicies' = if (restorable) {
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

resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in roles: {
    scope: account
    name: guid(account.id, principalId, role)
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource blobDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account::blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: concat(
      [{ category: 'StorageWrite', enabled: true }, { category: 'StorageDelete', enabled: true }],
      logReads ? [{ category: 'StorageRead', enabled: true }] : []
    )
  }
}

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (tables) {
  scope: account::tableService
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'StorageWrite', enabled: true }, { category: 'StorageDelete', enabled: true }]
  }
}

resource keep 'Microsoft.Authorization/locks@2020-05-01' = if (!empty(lockNotes)) {
  scope: account
  name: 'keep'
  properties: { level: 'CanNotDelete', notes: lockNotes }
}

@description('Account id.')
output id string = account.id
