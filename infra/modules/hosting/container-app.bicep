metadata description = 'The image on Container Apps: scales to zero, closed but for the allow-list.'

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

@description('Required. Login server of the registry.')
param registryServer string

@description('Required. Settings of the app and the host.')
param settings setting[]

@description('Required. Subnet of the app.')
param subnetId string

@description('Required. Diagnostics go here.')
param workspaceId string

@description('Required. Name of the environment.')
param environmentName string

@description('Required. Address ranges let in; empty closes the app.')
param allowedIpRanges string[]

@description('Required. No public endpoint at all.')
param privateSite bool

@description('Required. Instances kept warm.')
param minimumReplicas int

@description('Required. Upper bound of instances, and so of cost.')
param maximumReplicas int

@description('Required. Origin of the portal.')
param portalOrigin string

@description('Required. Issuer of sign-in tokens.')
param tokenIssuer string

@description('Required. Client id of the app registration that signs callers in; empty leaves it out.')
param entraClientId string

@description('Required. Paths that need no sign-in.')
param publicPaths string[]

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' = {
  name: environmentName
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: { destination: 'azure-monitor' }
    peerAuthentication: { mtls: { enabled: true } }
    peerTrafficConfiguration: { encryption: { enabled: true } }
    publicNetworkAccess: privateSite ? 'Disabled' : 'Enabled'
    vnetConfiguration: { infrastructureSubnetId: subnetId, internal: false }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
  }
}

resource app 'Microsoft.App/containerApps@2026-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [{ server: registryServer, identity: identityId }]
      ingress: {
        external: true
        targetPort: 8080
        transport: 'http'
        allowInsecure: false
        traffic: [{ latestRevision: true, weight: 100 }]
        corsPolicy: { allowedOrigins: [portalOrigin], allowCredentials: false }
        // With no rule at all it would be open to everyone: one that nobody outside can meet closes it.
        ipSecurityRestrictions: [
          for (range, i) in empty(allowedIpRanges) ? ['127.0.0.1/32'] : allowedIpRanges: {
            name: 'allowed-${i}'
            action: 'Allow'
            ipAddressRange: range
          }
        ]
      }
    }
    template: {
      containers: [
        {
          name: 'api'
          image: image
          env: settings
          resources: { cpu: json('1.0'), memory: '2Gi' }
          probes: [
            {
              type: 'Startup'
              httpGet: { path: '/api/live', port: 8080 }
              periodSeconds: 6
              failureThreshold: 10
            }
            // Asks nothing behind the app: a database that is down must not recycle it.
            { type: 'Liveness', httpGet: { path: '/api/live', port: 8080 }, periodSeconds: 10, failureThreshold: 3 }
          ]
        }
      ]
      // The platform makes the rules of scaling.
      scale: { minReplicas: minimumReplicas, maxReplicas: maximumReplicas }
    }
  }

  // Tokens alone, without a redirect to sign-in: no secret is needed.
  resource signIn 'authConfigs' = if (!empty(entraClientId)) {
    name: 'current'
    properties: {
      platform: { enabled: true }
      globalValidation: { unauthenticatedClientAction: 'Return401', excludedPaths: publicPaths }
      httpSettings: { requireHttps: true }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: { openIdIssuer: tokenIssuer, clientId: entraClientId }
          validation: { allowedAudiences: [entraClientId, 'api://${entraClientId}'] }
        }
      }
    }
  }
}

// There is no later version than this preview.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: environment
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

@description('App id.')
output id string = app.id

@description('App name.')
output name string = app.name

@description('Address of the app.')
output uri string = 'https://${app.properties.configuration.ingress.fqdn}'
