metadata description = 'The registry of the image: no admin user, no anonymous pull; the app pulls with its identity.'

import { tagSet } from 'types.bicep'

@description('Required. Registry name, letters and digits.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. No public endpoint; needs the Premium tier.')
param privateNetwork bool

@description('Required. Container Instances pull as a trusted service of Microsoft; needs the Premium tier.')
param trustedServices bool

@description('Required. Principal of the app, which pulls; it names the role assignment too.')
param principalId string

@description('Required. Diagnostic logs go to this workspace.')
param workspaceId string

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: privateNetwork || trustedServices ? 'Premium' : 'Basic' }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    roleAssignmentMode: 'LegacyRegistryPermissions'
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkRuleBypassOptions: trustedServices ? 'AzureServices' : 'None'
  }
}

var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'

resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, principalId, acrPull)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
  }
}

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: registry
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}
