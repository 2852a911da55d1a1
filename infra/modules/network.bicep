metadata description = 'A network with a subnet for the app and one for private endpoints; both deny every other inbound connection.'

import { inboundRule, tagSet } from 'types.bicep'

@description('Required. Name of the network.')
param name string

@description('Required. Start of the names of the network security groups.')
param guardName string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Address space, a /22 or larger.')
param addressPrefix string

@description('Required. Service endpoints (free) from the app to storage and vault, if these have no private endpoints.')
param serviceEndpoints bool

@description('Required. The whole network, and peered ones, may reach the private endpoints, not only the app.')
param openInside bool

@description('Required. Ports of the private endpoints.')
param endpointPorts string[]

@description('Required. Service that the subnet of the app is delegated to; empty for a virtual machine.')
param delegation string

@description('Required. Inbound connections that the subnet of the app allows.')
param appRules inboundRule[]

@description('Required. NAT gateway with its public address, for platforms without their own outbound access; null for none.')
param natGateway { name: string, addressName: string }?

var appPrefix = cidrSubnet(addressPrefix, 24, 0)
var endpointPrefix = cidrSubnet(addressPrefix, 26, 4)

var denyAllInbound = {
  name: 'deny-all-inbound'
  properties: {
    priority: 4096
    direction: 'Inbound'
    access: 'Deny'
    protocol: '*'
    sourceAddressPrefix: '*'
    sourcePortRange: '*'
    destinationAddressPrefix: '*'
    destinationPortRange: '*'
  }
}

resource appGuard 'Microsoft.Network/networkSecurityGroups@2025-09-01' = {
  name: '${guardName}-app'
  location: location
  tags: tags
  properties: {
    securityRules: concat(
      map(range(0, length(appRules)), i => {
        name: appRules[i].name
        properties: {
          priority: 100 + i
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: appRules[i].source
          sourcePortRange: '*'
          destinationAddressPrefix: appPrefix
          destinationPortRange: appRules[i].port
        }
      }),
      [denyAllInbound]
    )
  }
}

resource endpointGuard 'Microsoft.Network/networkSecurityGroups@2025-09-01' = {
  name: '${guardName}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'allow-inside'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: openInside ? 'VirtualNetwork' : appPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: endpointPrefix
          destinationPortRanges: endpointPorts
        }
      }
      denyAllInbound
    ]
  }
}

resource address 'Microsoft.Network/publicIPAddresses@2025-09-01' = if (natGateway != null) {
  name: natGateway!.addressName
  location: location
  tags: tags
  sku: { name: 'Standard', tier: 'Regional' }
  properties: { publicIPAllocationMethod: 'Static', publicIPAddressVersion: 'IPv4' }
}

// For outbound connections only.
resource nat 'Microsoft.Network/natGateways@2025-09-01' = if (natGateway != null) {
  name: natGateway!.name
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { idleTimeoutInMinutes: 4, publicIpAddresses: [{ id: address.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2025-09-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    // Subnets are properties here, not child resources: otherwise a second deployment would remove them for a moment.
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appPrefix
          defaultOutboundAccess: false
          networkSecurityGroup: { id: appGuard.id }
          serviceEndpoints: serviceEndpoints
            ? [{ service: 'Microsoft.Storage' }, { service: 'Microsoft.KeyVault' }]
            : []
          natGateway: natGateway == null ? null : { id: nat.id }
          delegations: empty(delegation) ? [] : [{ name: 'app', properties: { serviceName: delegation } }]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointPrefix
          defaultOutboundAccess: false
          networkSecurityGroup: { id: endpointGuard.id }
          // Without this, the security group does not apply to private endpoints.
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}
