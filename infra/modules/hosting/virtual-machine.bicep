metadata description = 'The image on a Debian machine: podman under systemd, at an address inside the network, without TLS.'

import { appContext, setting } from '../types.bicep'

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Settings of the app and the Functions host.')
param settings setting[]

@description('Required. Name and digest of the image in the registry.')
param image string

@description('Required. Login server of the registry.')
param registryServer string

@description('Required. Name of the network interface.')
param interfaceName string

@description('Required. Name of the account on the machine.')
param adminUsername string

@description('Required. Public half of an SSH key pair.')
param sshPublicKey string

@description('Required. Size.')
param size string

@description('Required. Name of the Bastion, to reach the machine by SSH from the portal; empty for none.')
param bastionName string

// Systemd reads one setting a line; addresses and ids need no quotes.
var environmentFile = join(map(settings, each => '${each.name}=${each.value}'), '\n')
var script = replace(
  replace(replace(loadTextContent('deploy.sh'), '__IMAGE__', image), '__REGISTRY__', registryServer),
  '__ENVIRONMENT__',
  base64(environmentFile)
)

resource interface 'Microsoft.Network/networkInterfaces@2025-09-01' = {
  name: interfaceName
  location: app.location
  tags: app.tags
  properties: {
    ipConfigurations: [
      {
        name: 'primary'
        properties: {
          subnet: { id: resourceId('Microsoft.Network/virtualNetworks/subnets', app.networkName, 'app') }
          privateIPAllocationMethod: 'Dynamic'
        }
      }
    ]
  }
}

resource machine 'Microsoft.Compute/virtualMachines@2025-04-01' = {
  name: app.name
  location: app.location
  tags: app.tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${app.identityId}': {} }
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
    location: app.location
    tags: app.tags
    properties: {
      source: { script: script }
      asyncExecution: false
      timeoutInSeconds: 1800
      treatFailureAsDeploymentFailure: true
    }
  }
}

resource bastion 'Microsoft.Network/bastionHosts@2025-09-01' = if (!empty(bastionName)) {
  name: bastionName
  location: app.location
  tags: app.tags
  sku: { name: 'Developer' }
  properties: { virtualNetwork: { id: resourceId('Microsoft.Network/virtualNetworks', app.networkName) } }
}

@description('Address inside the network.')
output uri string = 'http://${interface.properties.ipConfigurations[0].properties.privateIPAddress!}:8080'
