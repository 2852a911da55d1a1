metadata description = 'The private endpoints of storage, vault and registry in a private network, and that of a database server.'

import { databaseServer, tagSet } from 'types.bicep'

@description('Required. Names of the endpoints, with {0} for what they lead to.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Name of the network, which has the subnet endpoints.')
param networkName string

@description('Required. Storage account of the app and that of the Functions host; empty without a private network.')
param storageNames string[]

@description('Required. Vault; empty without a private network.')
param vaultName string

@description('Required. Registry; empty without a private network, or without an image.')
param registryName string

@description('Required. Database server, which has no service endpoint, and so always gets a private one.')
param server databaseServer

var cloud = loadJsonContent('../cloud.json')
var accounts = 'Microsoft.Storage/storageAccounts'

var kinds = concat(
  empty(storageNames)
    ? []
    : [
        {
          group: 'blob'
          zone: 'privatelink.blob.${cloud.storageSuffix}'
          endpoints: [
            { name: format(name, 'blob'), type: accounts, target: storageNames[0] }
            { name: format(name, 'host-blob'), type: accounts, target: storageNames[1] }
          ]
        }
        {
          group: 'table'
          zone: 'privatelink.table.${cloud.storageSuffix}'
          endpoints: [{ name: format(name, 'table'), type: accounts, target: storageNames[0] }]
        }
      ],
  empty(vaultName)
    ? []
    : [
        {
          group: 'vault'
          zone: cloud.vaultPrivateZone
          endpoints: [{ name: format(name, 'vault'), type: 'Microsoft.KeyVault/vaults', target: vaultName }]
        }
      ],
  empty(registryName)
    ? []
    : [
        {
          group: 'registry'
          zone: cloud.registryPrivateZone
          endpoints: [
            {
              name: format(name, 'registry')
              type: 'Microsoft.ContainerRegistry/registries'
              target: registryName
            }
          ]
        }
      ],
  empty(server.name)
    ? []
    : [
        {
          group: server.group
          zone: server.zone
          endpoints: [{ name: format(name, server.group), type: server.type, target: server.name }]
        }
      ]
)

module each 'private-endpoint.bicep' = [
  for kind in kinds: {
    params: {
      location: location
      tags: tags
      groupId: kind.group
      zoneName: kind.zone
      endpoints: kind.endpoints
      networkName: networkName
    }
  }
]
