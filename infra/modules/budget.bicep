metadata description = 'Mail when the month becomes more expensive than planned.'

@description('Required. Name.')
param name string

@description('Required. Amount a month, in the billing currency.')
param amount int

@description('Required. First day. A later deployment cannot change it.')
param startDate string

@description('Required. Addresses that get the mail.')
param emails string[]

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: name
  properties: {
    category: 'Cost'
    timeGrain: 'Monthly'
    amount: amount
    timePeriod: { startDate: startDate }
    notifications: {
      actual80: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
      }
      forecast100: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
      }
    }
  }
}
