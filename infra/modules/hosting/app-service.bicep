metadata description = 'The image on App Service: always on, open only to the allow-list.'

import { appContext, setting } from '../types.bicep'

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Settings of the app and the Functions host.')
param settings setting[]

@description('Required. Image with its registry and digest.')
param image string

@description('Required. Name of the plan.')
param planName string

@description('Required. Size of the plan.')
param planSku string

@description('Required. Client id of the identity that pulls the image.')
param identityClientId string

@description('Required. Name of the private endpoint of the site.')
param endpointName string

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: app.location
  tags: app.tags
  kind: 'linux'
  sku: { name: planSku, capacity: 1 }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: app.name
  location: app.location
  tags: app.tags
  kind: 'functionapp,linux,container'
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
    outboundVnetRouting: { allTraffic: true, imagePullTraffic: true }
    siteConfig: {
      alwaysOn: true
      linuxFxVersion: 'DOCKER|${image}'
      acrUseManagedIdentityCreds: true
      acrUserManagedIdentityID: identityClientId
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      remoteDebuggingEnabled: false
      healthCheckPath: '/api/live'
      cors: { allowedOrigins: app.origins, supportCredentials: false }
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
      appSettings: concat(settings, [
        { name: 'FUNCTIONS_EXTENSION_VERSION', value: '~4' }
        { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'python' }
        { name: 'WEBSITES_ENABLE_APP_SERVICE_STORAGE', value: 'false' }
        { name: 'WEBSITES_PORT', value: '8080' }
      ])
    }
  }
}

module access 'site-access.bicep' = {
  params: { app: app, siteName: site.name, endpointName: endpointName }
}

@description('Address of the app.')
output uri string = 'https://${site.properties.defaultHostName}'
