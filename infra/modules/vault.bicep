metadata description = 'The vault with the master key, which the app may wrap and unwrap with, and nothing else.'

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

@description('Required. Address ranges let in; empty closes the vault.')
param allowedIpRanges string[]

@description('Required. Subnet let in by service endpoint; empty where there are private endpoints.')
param allowedSubnetId string

@description('Required. No public endpoint at all.')
param privateNetwork bool

@description('Required. The app wraps and unwraps as this principal.')
param principalId string

@description('Required. Diagnostics go here.')
param workspaceId string

@description('Required. Premium keeps the key in a hardware security module.')
@allowed(['standard', 'premium'])
param sku string

@description('Required. A deleted vault cannot be purged before its retention ends.')
param purgeProtection bool

@description('Required. Keep the vault from being deleted.')
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
    // Never false: Resource Manager refuses it, for it cannot be taken back.
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

  // Made where there is none; one that is there is left as it is, with its versions.
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

// May read the public part, wrap and unwrap: not decrypt, sign, back up, delete or list.
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
    // Into tables of their own (AZKVAuditLogs), which the alerts read.
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
