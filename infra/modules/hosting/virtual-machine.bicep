metadata description = 'The image on a Debian machine: podman under systemd, at an address inside the network, without TLS.'

import { setting, tagSet } from '../types.bicep'

@description('Required. Name.')
param name string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. User-assigned identity of the app.')
param identityId string

@description('Required. Name and digest of the image in the registry.')
param image string

@description('Required. Login server of the registry.')
param registryServer string

@description('Required. Settings of the app and the host.')
param settings setting[]

@description('Required. Subnet of the app.')
param subnetId string

@description('Required. Name of the network interface.')
param interfaceName string

@description('Required. Public half of an SSH key pair.')
param sshPublicKey string

@description('Required. Name of the account on the machine.')
param adminUsername string

@description('Required. Size.')
param size string

// Systemd reads the file as it stands: a line a setting, nothing to quote in addresses and ids.
var environmentFile = join(map(settings, each => '${each.name}=${each.value}'), '\n')
var script = replace(
  replace(replace(loadTextContent('deploy.sh'), '__IMAGE__', image), '__REGISTRY__', registryServer),
  '__ENVIRONMENT__',
  base64(environmentFile)
)

resource interface 'Microsoft.Network/networkInterfaces@2025-09-01' = {
  name: interfaceName
  location: location
  tags: tags
  properties: {
    ipConfigurations: [
      { name: 'primary', properties: { subnet: { id: subnetId }, privateIPAllocationMethod: 'Dynamic' } }
    ]
  }
}

resource machine 'Microsoft.Compute/virtualMachines@2025-04-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    hardwareProfile: { vmSize: size }
    networkProfile: { networkInterfaces: [{ id: interface.id, properties: { deleteOption: 'Delete' } }] }
    osProfile: {
      computerName: 'strongroom'
      adminUsername: adminUsername
      customData: loadFileAsBase64('cloud-init.yaml')
      linuxConfiguration: {
        disablePasswordAuthentication: true
        provisionVMAgent: true
        ssh: { publicKeys: [{ path: '/home/${adminUsername}/.ssh/authorized_keys', keyData: sshPublicKey }] }
        patchSettings: {
          patchMode: 'AutomaticByPlatform'
          assessmentMode: 'AutomaticByPlatform'
          automaticByPlatformSettings: { rebootSetting: 'IfRequired' }
        }
      }
    }
    securityProfile: {
      securityType: 'TrustedLaunch'
      encryptionAtHost: true
      uefiSettings: { secureBootEnabled: true, vTpmEnabled: true }
    }
    storageProfile: {
      imageReference: { publisher: 'Debian', offer: 'debian-13', sku: '13-gen2', version: 'latest' }
      osDisk: {
        createOption: 'FromImage'
        deleteOption: 'Delete'
        caching: 'ReadWrite'
        diskSizeGB: 32
        managedDisk: { storageAccountType: 'StandardSSD_LRS' }
      }
    }
    diagnosticsProfile: { bootDiagnostics: { enabled: true } }
  }

  resource deploy 'runCommands' = {
    name: 'deploy'
    location: location
    tags: tags
    properties: {
      source: { script: script }
      asyncExecution: false
      timeoutInSeconds: 1800
      treatFailureAsDeploymentFailure: true
    }
  }
}

@description('Machine id.')
output id string = machine.id

@description('Machine name.')
output name string = machine.name

@description('Address inside the network.')
output uri string = 'http://${interface.properties.ipConfigurations[0].properties.privateIPAddress!}:8080'
