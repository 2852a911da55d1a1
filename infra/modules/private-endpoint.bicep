metadata description = 'A private endpoint with its DNS zone, linked to the network.'

import { tagSet } from 'types.bicep'

@description('Required. Name.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. The resource behind the endpoint.')
param targetId string

@description('Required. Its part: blob, table, vault, sites, postgresqlServer, mysqlServer.')
param groupId string

@description('Required. DNS zone of that part.')
param zoneName string

@description('Required. Network that the zone is linked to.')
param networkId string

@description('Required. Subnet of the endpoint.')
param subnetId string

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
      virtualNetwork: { id: networkId }
    }
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2025-09-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      { name: groupId, properties: { privateLinkServiceId: targetId, groupIds: [groupId] } }
    ]
  }

  resource zones 'privateDnsZoneGroups' = {
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: groupId, properties: { privateDnsZoneId: zone.id } }]
    }
  }
}
