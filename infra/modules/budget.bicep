metadata description = 'Mail when the month costs more than was meant.'

@description('Required. Name.')
param name string

@description('Required. Amount a month, in the billing currency.')
param amount int

@description('Required. First day; fixed, because a later deployment may not move it.')
param startDate string

@description('Required. Who is told.')
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
