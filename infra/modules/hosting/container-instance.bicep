metadata description = 'The image on Container Instances: one container at an address inside the network, without TLS.'

import { appContext, setting } from '../types.bicep'

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Settings of the app and the Functions host.')
param settings setting[]

@description('Required. Image with its registry and digest.')
param image string

@description('Required. Login server of the registry.')
param registryServer string

resource group 'Microsoft.ContainerInstance/containerGroups@2026-07-01' = {
  name: app.name
  location: app.location
  tags: app.tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${app.identityId}': {} }
  }
  properties: {
    sku: 'Standard'
    osType: 'Linux'
    restartPolicy: 'Always'
    subnetIds: [{ id: resourceId('Microsoft.Network/virtualNetworks/subnets', app.networkName, 'app') }]
    ipAddress: { type: 'Private', ports: [{ port: 8080, protocol: 'TCP' }] }
    imageRegistryCredentials: [{ server: registryServer, identity: app.identityId }]
    containers: [
      {
        name: 'api'
        properties: {
          image: image
          ports: [{ port: 8080, protocol: 'TCP' }]
          resources: { requests: { cpu: 1, memoryInGB: json('2.0') }, limits: { cpu: 1, memoryInGB: json('2.0') } }
          environmentVariables: settings
          securityContext: {
            allowPrivilegeEscalation: false
            privileged: false
            runAsUser: 10001
            runAsGroup: 10001
            capabilities: { drop: ['ALL'], add: [] }
          }
          // It calls no other service: a database that is down must not recycle the app.
          livenessProbe: {
            httpGet: { path: '/api/live', port: 8080, scheme: 'http' }
            initialDelaySeconds: 60
            periodSeconds: 10
            failureThreshold: 3
          }
        }
      }
    ]
  }
}

// No later version than this preview exists.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: group
  name: 'to-workspace'
  properties: {
    workspaceId: app.workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

@description('Address inside the network.')
output uri string = 'http://${group.properties.ipAddress.ip!}:8080'
