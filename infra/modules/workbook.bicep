metadata description = 'A workbook in the portal: calls, failures, latencies, vault and storage.'

import { tagSet } from 'types.bicep'

@description('Required. Region.')
param location string

@description('Required. Tags for every resource.')
param tags tagSet

@description('Required. Workspace with the logs.')
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspaceId, 'strongroom')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Strongroom'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: string(loadJsonContent('../workbook.json'))
  }
}
