metadata description = 'Strongroom: the app with its storage, master key and logs, closed by default.'

import { ipv4Ranges, siteRanges, storageRanges } from 'modules/allow-list.bicep'
import { databases } from 'modules/databases.bicep'
import { bastionRule, hostings } from 'modules/hosting/facts.bicep'
import { tagSet } from 'modules/types.bicep'

// Every deployment sets these.

@description('Required. Name of this environment. The names of all resources follow from it and the resource group.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Optional. Region.')
param location string = resourceGroup().location

@description('Optional. Tags for every resource.')
param tags tagSet = {}

// Who may reach the app.

@description('Optional. Addresses that may call and deploy the app and reach storage, vault and database: addresses and ranges such as 203.0.113.7 or 203.0.113.0/24, or several of them separated by commas. Empty closes them all.')
param allowedIpRanges string[] = []

@description('Optional. Storage, vault and database get private endpoints and no public one.')
param privateNetwork bool = false

@description('Optional. The site gets a private endpoint and no public one; the allow-list then has no effect on it.')
param privateSite bool = false

@description('Optional. Address space of the network, a /22 or larger; if it collides with another network, change it before the first deployment.')
param addressPrefix string = '10.20.0.0/22'

@description('Optional. Client id of an app registration: callers must then sign in with Entra ID, in addition to the function key.')
param entraClientId string = ''

@description('Conditional. Address at which callers reach the app, such as https://keys.example.org, if a custom domain, Front Door or a gateway is in front of it; required for containerInstance and virtualMachine. Links and issuers begin with it.')
param url string = ''

@description('Optional. Number of your own proxies in front of the app, such as Front Door. Then only their addresses may be on the allow-list.')
@minValue(0)
@maxValue(9)
param proxies int = 0

// Sign-in.

@description('Optional. Origins of your web pages that call the app and use passkeys, such as https://app.example.org, or several of them separated by commas.')
param origins string[] = []

@description('Optional. Browsers may call sign-in and refresh-session without a function key.')
param publicSignIn bool = false

@description('Optional. Anybody may create a user with sign-up.')
param publicSignUp bool = false

@description('Optional. More settings of the app, such as SSO_GOOGLE_ISSUER=https://accounts.google.com, or several of them separated by semicolons. Give secrets as Key Vault references.')
param settings string[] = []

// The hosting.

@description('Optional. The platform that runs the app: flex runs the package, the others run the image. docs/hosting.md compares them.')
@allowed(['flex', 'containerApp', 'containerInstance', 'virtualMachine', 'appService'])
param hosting string = 'flex'

@description('Conditional. Name and digest of the image in the registry, as strongroom@sha256:…; without one, everything but the app itself is deployed. For every hosting but flex.')
param image string = ''

@description('Conditional. Public half of an SSH key pair; required for virtualMachine.')
param sshPublicKey string = ''

@description('Optional. Size of the machine, for virtualMachine; it must allow encryption at host.')
param vmSize string = 'Standard_B2als_v2'

@description('Optional. Bastion Developer, to reach the machine by SSH from the portal, for virtualMachine.')
param bastion bool = false

@description('Optional. Size of the plan, for appService.')
param planSku string = 'P0v3'

@description('Optional. Upper bound of instances, for containerApp.')
@minValue(1)
@maxValue(1000)
param maximumReplicas int = 10

@description('Optional. Python version.')
@allowed(['3.11', '3.12', '3.13'])
param pythonVersion string = '3.13'

@description('Optional. Memory of an instance in MB. With 2,048 two child processes of 768 MiB run data files, models and long SQLite statements, beside 512 MiB for the host and the worker; with 512 one of 256 MiB does, and public queries over data files get 429.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Optional. Upper bound of instances, and so of cost.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Optional. Instances kept warm for HTTP; each costs its memory all day.')
@minValue(0)
@maxValue(1000)
param alwaysReady int = 0

// Data.

@description('Optional. Copies of stored data: three in one datacentre (LRS), three in three zones (ZRS), or six with a second region (GRS, GZRS).')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageRedundancy string = 'Standard_ZRS'

@description('Optional. Days for which blobs can be restored, and the database (at most 35).')
@minValue(7)
@maxValue(360)
param retentionDays int = 30

@description('Optional. Premium keeps the master key in a hardware security module.')
@allowed(['standard', 'premium'])
param vaultSku string = 'standard'

@description('Optional. Nobody can purge a deleted vault for 90 days; false lets azd down --purge do so. Once true, it stays true.')
param purgeProtection bool = true

@description('Optional. A database server. With none, the app reads a SQLite file from storage.')
@allowed(['none', 'postgresql', 'mysql'])
param database string = 'none'

@description('Conditional. Object id of the administrator of the database; required with a database.')
param databaseAdminId string = ''

@description('Conditional. Name of that administrator, as Entra ID knows it (the user principal name of a person); required with a database.')
param databaseAdminName string = ''

@description('Optional. Kind of that administrator.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param databaseAdminType string = 'User'

@description('Conditional. Random password, for the first deployment with mysql only: Azure requires one when it creates the server. Sign-in by password is off. Without it, an existing server keeps its password.')
@secure()
param mysqlUnusedPassword string = ''

// Monitoring.

@description('Optional. Gigabytes of logs a day; further logs of that day are dropped. Limits the cost.')
@minValue(1)
param dailyCapGb int = 1

@description('Optional. Addresses that alerts and budget send mail to; without any there are no alerts.')
param alertEmails string[] = []

@description('Optional. A workbook in the portal with calls, failures and latencies.')
param workbook bool = false

@description('Optional. Mail at 80 % of this amount a month, and when 100 % is forecast; 0: no budget.')
@minValue(0)
param budgetAmount int = 0

@description('Conditional. First day of the budget, the first of a month such as 2026-12-01; required with a budget, and fixed once deployed.')
param budgetStart string = ''

@description('Optional. Locks that forbid to delete storage, vault and database. The deployer must be Owner or User Access Administrator.')
param lock bool = false

// Names, and the names of the cloud's services.

var cloud = loadJsonContent('cloud.json')
var abbreviations = loadJsonContent('abbreviations.json')
var token = uniqueString(subscription().id, resourceGroup().id, environmentName)
var allTags = union(tags, { 'azd-env-name': environmentName })

var facts = hostings[hosting]
var appName = '${abbreviations[facts.prefix]}${token}'
var inContainer = hosting != 'flex'
var deployContainer = inContainer && !empty(image)

var storageName = '${abbreviations.storageAccount}${token}'
var hostStorageName = '${abbreviations.storageAccount}host${token}'
var vaultName = '${abbreviations.keyVault}${token}'
var registryName = '${abbreviations.containerRegistry}${token}'
var registryServer = '${registryName}.${cloud.registrySuffix}'
var networkName = '${abbreviations.virtualNetwork}${token}'
var workspaceName = '${abbreviations.logAnalytics}${token}'
var packageContainer = 'app-package'
var datasetContainer = 'datasets'
// The app keeps copies of the saved models here; no function reaches it.
var modelContainer = 'strongroom-models'
var keyName = 'master'
var databaseName = 'strongroom'
var endpointName = '${abbreviations.privateEndpoint}{0}-${token}'

var roles = {
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  blobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // The Functions host requires it on its own storage.
  tableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
}

var workspaceId = resourceId('Microsoft.OperationalInsights/workspaces', workspaceName)
var appSubnetId = privateNetwork ? '' : resourceId('Microsoft.Network/virtualNetworks/subnets', networkName, 'app')

var ranges = siteRanges(allowedIpRanges)
var pages = filter(map(flatten(map(origins, text => split(text, ','))), text => trim(text)), text => !empty(text))
var pairs = filter(
  map(flatten(map(settings, text => split(text, ';'))), text => trim(text)),
  text => contains(text, '=')
)
var moreSettings = map(pairs, text => { name: split(text, '=')[0], value: substring(text, indexOf(text, '=') + 1) })
var emails = filter(map(flatten(map(alertEmails, text => split(text, ','))), text => trim(text)), text => !empty(text))

var server = databases(
  '${abbreviations.postgresql}${token}',
  '${abbreviations.mysql}${token}',
  databaseName,
  cloud.postgresqlSuffix,
  cloud.mysqlSuffix
)[database]

// Parameters that need each other are refused before anything is deployed.
var adminId = database != 'none' && (empty(databaseAdminId) || empty(databaseAdminName))
  ? fail('A database needs databaseAdminId and databaseAdminName: who may sign in and make the roles of the app.')
  : databaseAdminId
var signInClientId = facts.private && !empty(entraClientId)
  ? fail('entraClientId: Container Instances and virtual machines have no sign-in. Take flex, containerApp or appService.')
  : entraClientId
var sshKey = hosting == 'virtualMachine' && !empty(image) && empty(sshPublicKey)
  ? fail('A virtual machine needs sshPublicKey: it takes no password.')
  : sshPublicKey
var publicUrl = facts.private && !empty(image) && empty(url)
  ? fail('containerInstance and virtualMachine need url: the https address of the gateway in front of them.')
  : url
// The console uploads large files straight to storage, from its own origin alone. Container Apps get their domain after
// storage exists: there, only `url` can name it.
var consoleOrigins = !empty(publicUrl) ? [publicUrl] : isSite ? ['https://${appName}.${cloud.siteSuffix}'] : []
var budgetDay = budgetAmount > 0 && (empty(budgetStart) || empty(emails))
  ? fail('A budget needs budgetStart, such as 2026-12-01, and alertEmails.')
  : budgetStart

// Resources that every hosting shares.

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${abbreviations.identity}${token}'
  location: location
  tags: allTags
}

module network 'modules/network.bicep' = {
  params: {
    name: networkName
    guardName: '${abbreviations.networkSecurityGroup}${token}'
    location: location
    tags: allTags
    addressPrefix: addressPrefix
    serviceEndpoints: !privateNetwork
    openInside: privateNetwork || privateSite
    endpointPorts: database == 'none' ? ['443'] : ['443', server.port]
    delegation: facts.delegation
    appRules: concat(facts.inbound, hosting == 'virtualMachine' && bastion ? [bastionRule] : [])
    natGateway: facts.private
      ? { name: '${abbreviations.natGateway}${token}', addressName: '${abbreviations.publicAddress}${token}' }
      : null
  }
}

module monitoring 'modules/monitoring.bicep' = {
  params: {
    workspaceName: workspaceName
    insightsName: '${abbreviations.applicationInsights}${token}'
    location: location
    tags: allTags
    dailyCapGb: dailyCapGb
    principalId: identity.properties.principalId
  }
}

// The records of the app and the users' blobs. The app may write blobs and tables here. It cannot delete a blob's versions.
module storage 'modules/storage.bicep' = {
  dependsOn: [network, monitoring]
  params: {
    name: storageName
    location: location
    tags: allTags
    redundancy: storageRedundancy
    allowedIpRanges: storageRanges(ipv4Ranges(ranges))
    allowedSubnetId: appSubnetId
    privateNetwork: privateNetwork
    principalId: identity.properties.principalId
    roles: [roles.blobDataContributor, roles.tableDataContributor]
    workspaceId: workspaceId
    containers: [datasetContainer, modelContainer]
    uploadOrigins: consoleOrigins
    tables: true
    retentionDays: retentionDays
    logReads: false
    lockNotes: lock ? 'Holds the keys and data of Strongroom. Tables have no backup.' : ''
  }
}

// The package and the host's own containers, function keys among them. No function of the app reaches this account.
module hostStorage 'modules/storage.bicep' = {
  dependsOn: [network, monitoring]
  params: {
    name: hostStorageName
    location: location
    tags: allTags
    redundancy: storageRedundancy
    allowedIpRanges: storageRanges(ipv4Ranges(ranges))
    allowedSubnetId: appSubnetId
    privateNetwork: privateNetwork
    principalId: identity.properties.principalId
    roles: [roles.blobDataOwner]
    workspaceId: workspaceId
    containers: [packageContainer]
    uploadOrigins: []
    tables: false
    retentionDays: 0
    logReads: true
    lockNotes: lock ? 'Holds the function keys of Strongroom.' : ''
  }
}

module vault 'modules/vault.bicep' = {
  dependsOn: [network, monitoring]
  params: {
    name: vaultName
    keyName: keyName
    location: location
    tags: allTags
    allowedIpRanges: ipv4Ranges(ranges)
    allowedSubnetId: appSubnetId
    privateNetwork: privateNetwork
    principalId: identity.properties.principalId
    workspaceId: workspaceId
    sku: vaultSku
    purgeProtection: purgeProtection
    lock: lock
  }
}

module registry 'modules/registry.bicep' = if (inContainer) {
  dependsOn: [monitoring]
  params: {
    name: registryName
    location: location
    tags: allTags
    privateNetwork: privateNetwork
    trustedServices: hosting == 'containerInstance'
    principalId: identity.properties.principalId
    workspaceId: workspaceId
  }
}

module postgresql 'modules/postgresql.bicep' = if (database == 'postgresql') {
  params: {
    name: server.name
    databaseName: databaseName
    location: location
    tags: allTags
    allowedIpRanges: ipv4Ranges(ranges)
    privateNetwork: privateNetwork
    administratorId: adminId
    administratorName: databaseAdminName
    administratorType: databaseAdminType
    retentionDays: min(retentionDays, 35)
    lock: lock
  }
}

module mysql 'modules/mysql.bicep' = if (database == 'mysql') {
  params: {
    name: server.name
    identityName: '${abbreviations.identity}mysql-${token}'
    databaseName: databaseName
    location: location
    tags: allTags
    allowedIpRanges: ipv4Ranges(ranges)
    privateNetwork: privateNetwork
    administratorId: adminId
    administratorName: databaseAdminName
    unusedPassword: mysqlUnusedPassword
    retentionDays: min(retentionDays, 35)
    lock: lock
  }
}

module endpoints 'modules/private-endpoints.bicep' = {
  dependsOn: [network, storage, hostStorage, vault, registry, postgresql, mysql]
  params: {
    name: endpointName
    location: location
    tags: allTags
    networkName: networkName
    storageNames: privateNetwork ? [storageName, hostStorageName] : []
    vaultName: privateNetwork ? vaultName : ''
    registryName: privateNetwork && inContainer ? registryName : ''
    server: server
  }
}

// The app.

module app 'modules/hosting/app.bicep' = if (hosting == 'flex' || deployContainer) {
  // The host reads storage as soon as it starts; the app then reads the rest.
  dependsOn: [network, storage, hostStorage, vault, registry, endpoints]
  params: {
    hosting: hosting
    image: image
    registryServer: registryServer
    token: token
    app: {
      name: appName
      location: location
      tags: allTags
      identityId: identity.id
      allowedIpRanges: hosting == 'containerApp' ? ipv4Ranges(ranges) : ranges
      privateSite: privateSite
      networkName: networkName
      workspaceId: workspaceId
      origins: union([cloud.portal], pages)
      tokenIssuer: '${cloud.login}/${tenant().tenantId}/v2.0'
      entraClientId: signInClientId
      publicPaths: concat(
        loadJsonContent('public-paths.json'),
        publicSignIn ? ['/api/sign-in', '/api/sign-in/*', '/api/sessions/refresh'] : [],
        publicSignUp ? ['/api/sign-up'] : []
      )
    }
    options: {
      pythonVersion: pythonVersion
      instanceMemoryMB: instanceMemoryMB
      maximumInstanceCount: maximumInstanceCount
      alwaysReady: alwaysReady
      maximumReplicas: maximumReplicas
      planSku: planSku
      vmSize: vmSize
      sshPublicKey: sshKey
      bastion: bastion
    }
    endpointName: endpointName
    identityClientId: identity.properties.clientId
    telemetry: monitoring.outputs.connectionString
    storageName: storageName
    privateStorage: privateNetwork
    hostStorageName: hostStorageName
    packageContainer: packageContainer
    // Without a version, so that the app follows a rotation.
    masterKey: 'https://${vaultName}.${cloud.vaultSuffix}/keys/${keyName}'
    server: server
    sqliteFile: '${datasetContainer}/main.sqlite'
    url: publicUrl
    proxies: proxies
    pages: pages
    publicSignIn: publicSignIn
    publicSignUp: publicSignUp
    moreSettings: moreSettings
  }
}

// Alerts, a workbook and a budget.

var isSite = hosting == 'flex' || hosting == 'appService' && deployContainer

module alerts 'modules/alerts.bicep' = if (!empty(emails)) {
  dependsOn: [monitoring, app]
  params: {
    token: token
    groupName: '${abbreviations.actionGroup}${token}'
    topicName: '${abbreviations.systemTopic}${token}'
    location: location
    tags: allTags
    emails: emails
    workspaceId: workspaceId
    siteId: isSite ? resourceId('Microsoft.Web/sites', appName) : ''
    vaultId: vault.outputs.id
    storageId: storage.outputs.id
  }
}

module page 'modules/workbook.bicep' = if (workbook) {
  dependsOn: [monitoring]
  params: { location: location, tags: allTags, workspaceId: workspaceId }
}

module budget 'modules/budget.bicep' = if (budgetAmount > 0) {
  params: {
    name: '${abbreviations.budget}${token}'
    amount: budgetAmount
    startDate: budgetDay
    emails: emails
  }
}

@description('Address of the app; empty before there is an image.')
output API_URI string = hosting == 'flex' || deployContainer ? app!.outputs.uri : ''

@description('Name of the app, for deployment; empty before there is an image.')
output API_NAME string = hosting == 'flex' || deployContainer ? appName : ''

@description('Registry to push the image to; empty for flex.')
output REGISTRY_SERVER string = inContainer ? registryServer : ''

@description('Client id of the app\'s identity; MySQL knows it by this.')
output IDENTITY_CLIENT_ID string = identity.properties.clientId

@description('Object id of the app\'s identity; PostgreSQL and federated credentials know it by this.')
output IDENTITY_PRINCIPAL_ID string = identity.properties.principalId

@description('The database engine, for the script that makes its roles.')
output SQL_ENGINE string = database

@description('Host name of the database; empty without one.')
output SQL_HOST string = server.host
