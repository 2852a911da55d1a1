metadata description = 'Private endpoints of one kind, with their DNS zone, which is linked to the network.'

import { tagSet } from 'types.bicep'

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. What the endpoints lead to: blob, table, vault, registry, sites, managedEnvironments, postgresqlServer or mysqlServer.')
param groupId string

@description('Required. DNS zone of that kind.')
param zoneName string

@description('Required. Each endpoint, and type and name of the resource behind it.')
param endpoints { name: string, type: string, target: string }[]

@description('Required. Name of the network, which has the subnet endpoints.')
param networkName string

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: zoneName
  location: 'global'
  tags: tags

  resource link 'virtualNetworkLinks' = {
    name: 'link'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: resourceId('Microsoft.Network/virtualNetworks', networkName) }
    }
  }
}

resource each 'Microsoft.Network/privateEndpoints@2025-09-01' = [
  for endpoint in endpoints: {
    name: endpoint.name
    location: location
    tags: tags
    properties: {
      subnet: { id: resourceId('Microsoft.Network/virtualNetworks/subnets', networkName, 'endpoints') }
      privateLinkServiceConnections: [
        {
          name: groupId
          properties: { privateLinkServiceId: resourceId(endpoint.type, endpoint.target), groupIds: [groupId] }
        }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-09-01' = [
  for (endpoint, i) in endpoints: {
    parent: each[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: groupId, properties: { privateDnsZoneId: zone.id } }]
    }
  }
]
