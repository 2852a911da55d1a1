metadata description = 'The image on App Service: always on, closed but for the allow-list.'

import { setting, tagSet } from '../types.bicep'

@description('Required. Name.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. User-assigned identity of the app.')
param identityId string

@description('Required. Image with its registry and digest.')
param image string

@description('Required. Settings of the app and the host.')
param settings setting[]

@description('Required. Subnet of the app.')
param subnetId string

@description('Required. Diagnostics go here.')
param workspaceId string

@description('Required. Name of the plan.')
param planName string

@description('Required. Size of the plan.')
param planSku string

@description('Required. Client id of the identity, which pulls the image.')
param identityClientId string

@description('Required. Address ranges let in; empty closes the site.')
param allowedIpRanges string[]

@description('Required. No public endpoint at all.')
param privateSite bool

@description('Required. Origin of the portal.')
param portalOrigin string

@description('Required. Issuer of sign-in tokens.')
param tokenIssuer string

@description('Required. Client id of the app registration that signs callers in; empty leaves it out.')
param entraClientId string

@description('Required. Paths that need no sign-in.')
param publicPaths string[]

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'linux'
  sku: { name: planSku, capacity: 1 }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux,container'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    endToEndEncryptionEnabled: true
    keyVaultReferenceIdentity: identityId
    publicNetworkAccess: privateSite ? 'Disabled' : 'Enabled'
    virtualNetworkSubnetId: subnetId
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
      cors: { allowedOrigins: [portalOrigin], supportCredentials: false }
      ipSecurityRestrictionsDefaultAction: 'Deny'
      ipSecurityRestrictions: [
        for (range, i) in allowedIpRanges: {
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

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource signIn 'config' = if (!empty(entraClientId)) {
    name: 'authsettingsV2'
    properties: {
      platform: { enabled: true, runtimeVersion: '~1' }
      globalValidation: {
        requireAuthentication: true
        unauthenticatedClientAction: 'Return401'
        excludedPaths: publicPaths
      }
      httpSettings: { requireHttps: true, routes: { apiPrefix: '/.auth' }, forwardProxy: { convention: 'NoProxy' } }
      login: { tokenStore: { enabled: false } }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: {
            openIdIssuer: tokenIssuer
            clientId: entraClientId
            // No secret: the setting names the identity whose token stands in for one.
            clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
          }
          validation: { allowedAudiences: [entraClientId, 'api://${entraClientId}'] }
        }
      }
    }
  }
}

// There is no later version than this preview.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: site
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'FunctionAppLogs', enabled: true }, { category: 'AppServiceAuthenticationLogs', enabled: true }]
  }
}

@description('Site id.')
output id string = site.id

@description('Site name.')
output name string = site.name

@description('Address of the app.')
output uri string = 'https://${site.properties.defaultHostName}'
