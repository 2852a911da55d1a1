metadata description = 'The image on Container Apps: scales to zero, open only to the allow-list.'

import { appContext, setting } from '../types.bicep'

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Settings of the app and the Functions host.')
param settings setting[]

@description('Required. Whether the settings have the address of the app.')
param hasUrl bool

@description('Required. Image with its registry and digest.')
param image string

@description('Required. Login server of the registry.')
param registryServer string

@description('Required. Name of the environment.')
param environmentName string

@description('Required. Name of the private endpoint of the environment.')
param endpointName string

@description('Required. Instances that stay warm.')
param minimumReplicas int

@description('Required. Upper bound of instances, and so of cost.')
param maximumReplicas int

// Without an address of yours, links begin with the one that the environment gives the app.
var address = { name: 'STRONGROOM_URL', value: 'https://${app.name}.${environment.properties.defaultDomain}' }

var cloud = loadJsonContent('../../cloud.json')

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' = {
  name: environmentName
  location: app.location
  tags: app.tags
  properties: {
    appLogsConfiguration: { destination: 'azure-monitor' }
    peerAuthentication: { mtls: { enabled: true } }
    peerTrafficConfiguration: { encryption: { enabled: true } }
    publicNetworkAccess: app.privateSite ? 'Disabled' : 'Enabled'
    vnetConfiguration: {
      infrastructureSubnetId: resourceId('Microsoft.Network/virtualNetworks/subnets', app.networkName, 'app')
      internal: false
    }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
  }
}

resource containerApp 'Microsoft.App/containerApps@2026-01-01' = {
  name: app.name
  location: app.location
  tags: app.tags
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${app.identityId}': {} }
  }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [{ server: registryServer, identity: app.identityId }]
      ingress: {
        external: true
        targetPort: 8080
        transport: 'http'
        allowInsecure: false
        traffic: [{ latestRevision: true, weight: 100 }]
        // By name: the wildcard for headers does not cover Authorization (Fetch standard).
        corsPolicy: {
          allowedOrigins: app.origins
          allowedMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
          allowedHeaders: [
            'authorization'
            'content-type'
            'idempotency-key'
            'if-match'
            'if-none-match'
            'range'
            'x-functions-key'
            'x-request-id'
          ]
          allowCredentials: false
        }
        // Without any rule everyone could call the app. A rule that no outside caller matches closes it.
        ipSecurityRestrictions: [
          for (range, i) in empty(app.allowedIpRanges) ? ['127.0.0.1/32'] : app.allowedIpRanges: {
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
          env: hasUrl ? settings : concat(settings, [address])
          resources: { cpu: json('1.0'), memory: '2Gi' }
          probes: [
            {
              type: 'Startup'
              httpGet: { path: '/api/live', port: 8080 }
              periodSeconds: 6
              failureThreshold: 10
            }
            // It calls no other service: a database that is down must not recycle the app.
            { type: 'Liveness', httpGet: { path: '/api/live', port: 8080 }, periodSeconds: 10, failureThreshold: 3 }
          ]
        }
      ]
      // The platform makes the scale rules.
      scale: { minReplicas: minimumReplicas, maxReplicas: maximumReplicas }
    }
  }

  // Bearer tokens alone, without a redirect to sign-in, so no secret is needed.
  resource signIn 'authConfigs' = if (!empty(app.entraClientId)) {
    name: 'current'
    properties: {
      platform: { enabled: true }
      globalValidation: { unauthenticatedClientAction: 'Return401', excludedPaths: app.publicPaths }
      httpSettings: { requireHttps: true }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: { openIdIssuer: app.tokenIssuer, clientId: app.entraClientId }
          validation: { allowedAudiences: [app.entraClientId, 'api://${app.entraClientId}'] }
        }
      }
    }
  }
}

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: environment
  name: 'to-workspace'
  properties: {
    workspaceId: app.workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

module endpoint '../private-endpoint.bicep' = if (app.privateSite) {
  dependsOn: [containerApp]
  params: {
    location: app.location
    tags: app.tags
    groupId: 'managedEnvironments'
    zoneName: 'privatelink.${app.location}.${cloud.containerAppsSuffix}'
    endpoints: [{ name: endpointName, type: 'Microsoft.App/managedEnvironments', target: environment.name }]
    networkName: app.networkName
  }
}

@description('Address of the app.')
output uri string = 'https://${containerApp.properties.configuration.ingress.fqdn}'
