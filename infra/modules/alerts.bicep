metadata description = 'Mail when calls fail, when somebody tries out keys, when a service throttles, and before the master key expires.'

import { tagSet } from 'types.bicep'

@description('Required. Suffix of all names.')
param token string

@description('Required. Name of the action group.')
param groupName string

@description('Required. Name of the system topic for the vault\'s events.')
param topicName string

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Addresses that get the mail.')
param emails string[]

@description('Required. Workspace with the logs.')
param workspaceId string

@description('Required. The site whose 401 responses are counted; empty if the app does not run as a site.')
param siteId string

@description('Required. The vault.')
param vaultId string

@description('Required. The storage account.')
param storageId string

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: groupName
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'strongroom'
    emailReceivers: [for (email, i) in emails: { name: 'mail-${i}', emailAddress: email, useCommonAlertSchema: true }]
  }
}

var queries = [
  {
    name: 'server-errors'
    severity: 1
    threshold: 5
    query: 'AppRequests | where toint(ResultCode) >= 500'
  }
  {
    name: 'busy'
    severity: 3
    threshold: 50
    query: 'AppRequests | where ResultCode == "429"'
  }
  {
    name: 'vault-denied'
    severity: 1
    threshold: 0
    query: 'AZKVAuditLogs | where HttpStatusCode in (401, 403)'
  }
]

resource queryRules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for q in queries: {
    name: '${q.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: q.name
      severity: q.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      // A new workspace does not have the tables yet.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: q.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: q.threshold
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [group.id] }
    }
  }
]

var metrics = [
  {
    // The host refuses a wrong key before the app sees the call. Only this metric shows it, no log does.
    name: 'unauthorized'
    scope: siteId
    namespace: 'Microsoft.Web/sites'
    metric: 'Http401'
    threshold: 50
    aggregation: 'Total'
    dimensions: []
  }
  {
    name: 'vault-throttled'
    scope: vaultId
    namespace: 'Microsoft.KeyVault/vaults'
    metric: 'ServiceApiResult'
    threshold: 0
    aggregation: 'Count'
    dimensions: [{ name: 'StatusCode', operator: 'Include', values: ['429'] }]
  }
  {
    name: 'storage-throttled'
    scope: storageId
    namespace: 'Microsoft.Storage/storageAccounts'
    metric: 'Transactions'
    threshold: 0
    aggregation: 'Total'
    dimensions: [
      {
        name: 'ResponseType'
        operator: 'Include'
        values: [
          'ServerBusyError'
          'ClientThrottlingError'
          'ClientAccountBandwidthThrottlingError'
          'ClientAccountRequestThrottlingError'
        ]
      }
    ]
  }
]

resource metricRules 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for m in filter(metrics, each => !empty(each.scope)): {
    name: '${m.name}-${token}'
    location: 'global'
    tags: tags
    properties: {
      enabled: true
      severity: 2
      scopes: [m.scope]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: m.name
            metricNamespace: m.namespace
            metricName: m.metric
            operator: 'GreaterThan'
            threshold: m.threshold
            timeAggregation: m.aggregation
            dimensions: m.dimensions
            // A metric without data yet must not fail the deployment.
            skipMetricValidation: true
          }
        ]
      }
      actions: [{ actionGroupId: group.id }]
    }
  }
]

resource vaultEvents 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topicName
  location: location
  tags: tags
  properties: { source: vaultId, topicType: 'Microsoft.KeyVault.vaults' }

  resource keyEnd 'eventSubscriptions' = {
    name: 'key-near-its-end'
    properties: {
      // Alerts accept no other schema.
      eventDeliverySchema: 'CloudEventSchemaV1_0'
      filter: { includedEventTypes: ['Microsoft.KeyVault.KeyNearExpiry', 'Microsoft.KeyVault.KeyExpired'] }
      destination: {
        endpointType: 'MonitorAlert'
        properties: {
          severity: 'Sev1'
          description: 'The master key of Strongroom expires soon, or has expired.'
          actionGroups: [group.id]
        }
      }
    }
  }
}
