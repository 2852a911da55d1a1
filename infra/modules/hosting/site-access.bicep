metadata description = 'Access to a site: no passwords for publishing, sign-in with Entra ID, a private endpoint. And its diagnostic logs.'

import { appContext } from '../types.bicep'

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Name of the site.')
param siteName string

@description('Required. Name of the private endpoint of the site.')
param endpointName string

var cloud = loadJsonContent('../../cloud.json')

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: siteName

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource signIn 'config' = if (!empty(app.entraClientId)) {
    name: 'authsettingsV2'
    properties: {
      platform: { enabled: true, runtimeVersion: '~1' }
      globalValidation: {
        requireAuthentication: true
        unauthenticatedClientAction: 'Return401'
        excludedPaths: app.publicPaths
      }
      httpSettings: { requireHttps: true, routes: { apiPrefix: '/.auth' }, forwardProxy: { convention: 'NoProxy' } }
      login: { tokenStore: { enabled: false } }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: {
            openIdIssuer: app.tokenIssuer
            clientId: app.entraClientId
            // No secret: this setting names the identity whose token replaces one.
            clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
          }
          validation: { allowedAudiences: [app.entraClientId, 'api://${app.entraClientId}'] }
        }
      }
    }
  }
}

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: site
  name: 'to-workspace'
  properties: {
    workspaceId: app.workspaceId
    logs: [{ category: 'FunctionAppLogs', enabled: true }, { category: 'AppServiceAuthenticationLogs', enabled: true }]
  }
}

module endpoint '../private-endpoint.bicep' = if (app.privateSite) {
  params: {
    location: app.location
    tags: app.tags
    groupId: 'sites'
    zoneName: cloud.sitePrivateZone
    endpoints: [{ name: endpointName, type: 'Microsoft.Web/sites', target: siteName }]
    networkName: app.networkName
  }
}
