metadata description = 'The image on Container Instances: one container at an address inside the network, without TLS.'

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

resource group 'Microsoft.ContainerInstance/containerGroups@2026-07-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    sku: 'Standard'
    osType: 'Linux'
    restartPolicy: 'Always'
    subnetIds: [{ id: subnetId }]
    ipAddress: { type: 'Private', ports: [{ port: 8080, protocol: 'TCP' }] }
    imageRegistryCredentials: [{ server: registryServer, identity: identityId }]
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
          // Asks nothing behind the app: a database that is down must not recycle it.
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

// There is no later version than this preview.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: group
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

@description('Group id.')
output id string = group.id

@description('Group name.')
output name string = group.name

@description('Address inside the network.')
output uri string = 'http://${group.properties.ipAddress.ip!}:8080'
