metadata description = 'The app on Flex Consumption: closed but for the allow-list, in the network, with an identity and no secret.'

import { setting, tagSet } from '../types.bicep'

@description('Required. Name of the site.')
param name string

@description('Required. Name of the plan.')
param planName string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. User-assigned identity of the app.')
param identityId string

@description('Required. Address of the container of the deployed package.')
param packageUri string

@description('Required. Settings of the app and the host.')
param settings setting[]

@description('Required. Address ranges let in; empty closes the site and its deployment site.')
param allowedIpRanges string[]

@description('Required. No public endpoint at all.')
param privateSite bool

@description('Required. Subnet delegated to Microsoft.App/environments.')
param subnetId string

@description('Required. Diagnostics go here.')
param workspaceId string

@description('Required. Python version.')
param pythonVersion string

@description('Required. Memory of an instance in MB.')
param instanceMemoryMB int

@description('Required. Upper bound of instances, and so of cost.')
param maximumInstanceCount int

@description('Required. Instances kept warm for HTTP.')
param alwaysReady int

@description('Required. Origin of the portal, whose Code + Test panel calls the functions from the browser.')
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
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
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
    outboundVnetRouting: { allTraffic: true }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUri
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      runtime: { name: 'python', version: pythonVersion }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady > 0 ? [{ name: 'http', instanceCount: alwaysReady }] : []
        triggers: { http: { perInstanceConcurrency: 16 } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      remoteDebuggingEnabled: false
      // Asks nothing behind the app: a database that is down must not recycle the instances.
      healthCheckPath: '/api/live'
      cors: { allowedOrigins: [portalOrigin], supportCredentials: false }
      // The default action, and no rule that denies: a deny-all that is the only rule is ignored.
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
      appSettings: settings
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
