metadata description = 'The app: its settings, and the hosting that runs it.'

import { hostings } from 'facts.bicep'
import { appContext, databaseServer, hostingOptions, setting } from '../types.bicep'

@description('Required. The platform that runs the app.')
param hosting ('flex' | 'containerApp' | 'containerInstance' | 'virtualMachine' | 'appService')

@description('Required. Name and digest of the image in the registry; flex has none.')
param image string

@description('Required. Login server of the registry.')
param registryServer string

@description('Required. Suffix of all names.')
param token string

@description('Required. The app and its surroundings.')
param app appContext

@description('Required. Parameters that only one hosting has.')
param options hostingOptions

@description('Required. Name of a private endpoint, with {0} for what it leads to.')
param endpointName string

@description('Required. Client id of the app\'s identity.')
param identityClientId string

@description('Required. Connection string of Application Insights, which contains no usable key.')
param telemetry string

@description('Required. Storage account of the app.')
param storageName string

@description('Required. Whether only the network reaches the storage account of the app.')
param privateStorage bool

@description('Required. Storage account of the Functions host.')
param hostStorageName string

@description('Required. Container of the deployed package.')
param packageContainer string

@description('Required. Address of the master key, without a version.')
param masterKey string

@description('Required. Database server.')
param server databaseServer

@description('Required. Container and name of the SQLite file that the app reads without a database server.')
param sqliteFile string

@description('Required. Address at which callers reach the app; empty for the one that the platform assigns.')
param url string

@description('Required. Number of your own proxies in front of the app.')
param proxies int

@description('Required. Origins of the web pages that call the app.')
param pages string[]

@description('Required. Browsers may sign users in without a function key.')
param publicSignIn bool

@description('Required. Anybody may create a user.')
param publicSignUp bool

@description('Required. More settings of the app.')
param moreSettings setting[]

var cloud = loadJsonContent('../../cloud.json')
var abbreviations = loadJsonContent('../../abbreviations.json')
var inContainer = hosting != 'flex'
var imageAddress = '${registryServer}/${image}'
var hostBlobUri = 'https://${hostStorageName}.blob.${cloud.storageSuffix}'

// Concurrent calls on an instance, by its memory in MB: each may hold several copies of an 8 MiB body. An image gets 2 GB.
var concurrency = {
  '512': 4
  '2048': 16
  '4096': 32
}[inContainer ? '2048' : string(options.instanceMemoryMB)]

// None of the settings is a secret; those of the operator may be Key Vault references.
var settings setting[] = concat(
  [
    { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
    { name: 'AzureWebJobsStorage__clientId', value: identityClientId }
    { name: 'AzureWebJobsStorage__blobServiceUri', value: hostBlobUri }
    { name: 'STRONGROOM_STORAGE__clientId', value: identityClientId }
    { name: 'STRONGROOM_STORAGE__blobServiceUri', value: 'https://${storageName}.blob.${cloud.storageSuffix}' }
    { name: 'STRONGROOM_STORAGE__tableServiceUri', value: 'https://${storageName}.table.${cloud.storageSuffix}' }
    { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: telemetry }
    {
      name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
      value: 'ClientId=${identityClientId};Authorization=AAD'
    }
    { name: 'STRONGROOM_MASTER_KEY', value: masterKey }
  ],
  // Trusted entries at the end of X-Forwarded-For: one from the platform's front end, if it has one, and those of your proxies.
  [{ name: 'STRONGROOM_PROXIES', value: string((hostings[hosting].private ? 0 : 1) + proxies) }],
  empty(url) ? [] : [{ name: 'STRONGROOM_URL', value: url }],
  empty(pages) ? [] : [{ name: 'STRONGROOM_ORIGINS', value: join(pages, ',') }],
  publicSignIn ? [{ name: 'STRONGROOM_PUBLIC_SIGN_IN', value: 'true' }] : [],
  publicSignUp ? [{ name: 'STRONGROOM_PUBLIC_SIGN_UP', value: 'true' }] : [],
  // Callers outside the network cannot follow a redirect to a private storage account.
  privateStorage ? [{ name: 'STRONGROOM_STORAGE_PRIVATE', value: 'true' }] : [],
  // The host passes no more calls than this to the app at once, in step with what Flex Consumption sends to an instance.
  [
    {
      name: 'AzureFunctionsJobHost__extensions__http__maxConcurrentRequests'
      value: string(concurrency)
    }
  ],
  empty(server.name)
    ? [{ name: 'DATABASE_MAIN', value: 'blob://${sqliteFile}' }]
    : [
        { name: 'DATABASE_MAIN', value: format(server.url, 'strongroom_reader', server.host) }
        { name: 'DATABASE_MAIN_WRITE', value: format(server.url, 'strongroom_writer', server.host) }
      ],
  empty(app.entraClientId)
    ? []
    : [
        { name: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID', value: identityClientId }
        { name: 'WEBSITE_AUTH_AAD_ALLOWED_TENANTS', value: tenant().tenantId }
      ],
  // Flex Consumption sets these itself. Without them, each replica of an image would have its own function keys.
  inContainer
    ? [
        { name: 'AzureFunctionsWebHost__hostid', value: 'strongroom-${token}' }
        { name: 'AzureWebJobsSecretStorageType', value: 'blob' }
      ]
    : [],
  moreSettings
)

module flex 'flex.bicep' = if (hosting == 'flex') {
  params: {
    app: app
    settings: settings
    planName: '${abbreviations.plan}${token}'
    packageUri: '${hostBlobUri}/${packageContainer}'
    pythonVersion: options.pythonVersion
    instanceMemoryMB: options.instanceMemoryMB
    maximumInstanceCount: options.maximumInstanceCount
    alwaysReady: options.alwaysReady
    concurrency: concurrency
    endpointName: format(endpointName, 'sites')
  }
}

module containerApp 'container-app.bicep' = if (hosting == 'containerApp') {
  params: {
    app: app
    settings: settings
    hasUrl: !empty(url)
    image: imageAddress
    registryServer: registryServer
    environmentName: '${abbreviations.containerEnvironment}${token}'
    minimumReplicas: options.alwaysReady
    maximumReplicas: options.maximumReplicas
    endpointName: format(endpointName, 'managedEnvironments')
  }
}

module containerInstance 'container-instance.bicep' = if (hosting == 'containerInstance') {
  params: { app: app, settings: settings, image: imageAddress, registryServer: registryServer }
}

module virtualMachine 'virtual-machine.bicep' = if (hosting == 'virtualMachine') {
  params: {
    app: app
    settings: settings
    image: image
    registryServer: registryServer
    interfaceName: '${abbreviations.networkInterface}${token}'
    adminUsername: 'operator'
    sshPublicKey: options.sshPublicKey
    size: options.vmSize
    bastionName: options.bastion ? '${abbreviations.bastion}${token}' : ''
  }
}

module appService 'app-service.bicep' = if (hosting == 'appService') {
  params: {
    app: app
    settings: settings
    image: imageAddress
    planName: '${abbreviations.plan}${token}'
    planSku: options.planSku
    identityClientId: identityClientId
    endpointName: format(endpointName, 'sites')
  }
}

@description('Address of the app.')
output uri string = hosting == 'flex'
  ? flex!.outputs.uri
  : hosting == 'containerApp'
      ? containerApp!.outputs.uri
      : hosting == 'containerInstance'
          ? containerInstance!.outputs.uri
          : hosting == 'virtualMachine' ? virtualMachine!.outputs.uri : appService!.outputs.uri
