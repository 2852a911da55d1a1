metadata description = 'The vault with the master key. The app may wrap and unwrap with the key, and nothing else.'

import { tagSet } from 'types.bicep'

@description('Required. Vault name.')
@maxLength(24)
param name string

@description('Required. Name of the master key.')
param keyName string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Address ranges that may call the vault; empty closes it.')
param allowedIpRanges string[]

@description('Required. Subnet that reaches the vault by service endpoint; empty if it has a private endpoint.')
param allowedSubnetId string

@description('Required. No public endpoint.')
param privateNetwork bool

@description('Required. Principal of the app, which wraps and unwraps; it names the role assignment too.')
param principalId string

@description('Required. Diagnostic logs go to this workspace.')
param workspaceId string

@description('Required. Premium keeps the key in a hardware security module.')
@allowed(['standard', 'premium'])
param sku string

@description('Required. A deleted vault cannot be purged before its retention ends.')
param purgeProtection bool

@description('Required. A lock that forbids to delete the vault.')
param lock bool

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: sku }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    // Never false: Azure refuses that, because purge protection cannot be switched off.
    enablePurgeProtection: purgeProtection ? true : null
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: 'Deny'
      ipRules: [for range in privateNetwork ? [] : allowedIpRanges: { value: range }]
      virtualNetworkRules: empty(allowedSubnetId) ? [] : [{ id: allowedSubnetId }]
    }
  }

  // A deployment creates the key if it is missing, and leaves an existing one with its versions unchanged.
  resource master 'keys' = {
    name: keyName
    properties: {
      kty: sku == 'premium' ? 'RSA-HSM' : 'RSA'
      keySize: 3072
      keyOps: ['wrapKey', 'unwrapKey']
      attributes: { enabled: true, exportable: false }
      rotationPolicy: {
        attributes: { expiryTime: 'P2Y' }
        lifetimeActions: [
          { action: { type: 'rotate' }, trigger: { timeAfterCreate: 'P1Y' } }
          { action: { type: 'notify' }, trigger: { timeBeforeExpiry: 'P30D' } }
        ]
      }
    }
  }
}

// Allows to read the public part, wrap and unwrap; not to decrypt, sign, back up, delete or list.
var cryptoServiceEncryptionUser = 'e147488a-f6f5-4113-8e2d-b22465e65bf6'

resource wrap 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault::master
  name: guid(vault::master.id, principalId, cryptoServiceEncryptionUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cryptoServiceEncryptionUser)
  }
}

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    // To dedicated tables (AZKVAuditLogs), which the alerts read.
    logAnalyticsDestinationType: 'Dedicated'
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

resource keep 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  scope: vault
  name: 'keep'
  properties: { level: 'CanNotDelete', notes: 'Without the master key every private key of Strongroom is lost.' }
}

@description('Vault id.')
output id string = vault.id
