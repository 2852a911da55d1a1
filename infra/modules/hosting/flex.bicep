metadata description = 'The app on Flex Consumption: open only to the allow-list, inside the network, with an identity and without a secret.'

import { appContext, setting } from '../types.bicep'

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Settings of the app and the Functions host.')
param settings setting[]

@description('Required. Name of the plan.')
param planName string

@description('Required. Address of the container with the deployed package.')
param packageUri string

@description('Required. Python version.')
param pythonVersion string

@description('Required. Memory of an instance in MB.')
param instanceMemoryMB int

@description('Required. Upper bound of instances, and so of cost.')
param maximumInstanceCount int

@description('Required. Instances that stay warm for HTTP.')
param alwaysReady int

@description('Required. Concurrent calls of one instance.')
param concurrency int

@description('Required. Name of the private endpoint of the site.')
param endpointName string

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: app.location
  tags: app.tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: app.name
  location: app.location
  tags: union(app.tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${app.identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    endToEndEncryptionEnabled: true
    keyVaultReferenceIdentity: app.identityId
    publicNetworkAccess: app.privateSite ? 'Disabled' : 'Enabled'
    virtualNetworkSubnetId: resourceId('Microsoft.Network/virtualNetworks/subnets', app.networkName, 'app')
    outboundVnetRouting: { allTraffic: true }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUri
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: app.identityId }
        }
      }
      runtime: { name: 'python', version: pythonVersion }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady > 0 ? [{ name: 'http', instanceCount: alwaysReady }] : []
        triggers: { http: { perInstanceConcurrency: concurrency } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      remoteDebuggingEnabled: false
      // It calls no other service: a database that is down must not recycle the instances.
      healthCheckPath: '/api/live'
      cors: { allowedOrigins: app.origins, supportCredentials: false }
      // The default action, and no deny rule: Azure ignores a deny-all that is the only rule.
      ipSecurityRestrictionsDefaultAction: 'Deny'
      ipSecurityRestrictions: [
        for (range, i) in app.allowedIpRanges: {
          name: 'allowed-${i}'
          priority: 100 + i
          action: 'Allow'
          ipAddress: range
        }
      ]
      scmIpSecurityRestrictionsUseMain: true
      scmIpSecurityRestrictionsDefaultAction: 'Deny'
      appSettings: settings
    }
  }
}

module access 'site-access.bicep' = {
  params: { app: app, siteName: site.name, endpointName: endpointName }
}

@description('Address of the app.')
output uri string = 'https://${site.properties.defaultHostName}'
