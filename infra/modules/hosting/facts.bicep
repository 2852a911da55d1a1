@export()
@description('What each hosting needs of the network. Only callers inside the network reach a private one, and it needs a NAT gateway to reach the internet.')
var hostings = {
  flex: { prefix: 'functionApp', delegation: 'Microsoft.App/environments', inbound: [], private: false }
  appService: { prefix: 'functionApp', delegation: 'Microsoft.Web/serverFarms', inbound: [], private: false }
  containerApp: {
    prefix: 'containerApp'
    delegation: 'Microsoft.App/environments'
    // The ingress rules of the app decide who may call it: a security group does not see the callers of an environment.
    inbound: [
      { name: 'allow-https', source: '*', port: '443' }
      { name: 'allow-load-balancer', source: 'AzureLoadBalancer', port: '30000-32767' }
    ]
    private: false
  }
  containerInstance: {
    prefix: 'containerGroup'
    delegation: 'Microsoft.ContainerInstance/containerGroups'
    inbound: [{ name: 'allow-inside', source: 'VirtualNetwork', port: '8080' }]
    private: true
  }
  virtualMachine: {
    prefix: 'virtualMachine'
    delegation: ''
    inbound: [{ name: 'allow-inside', source: 'VirtualNetwork', port: '8080' }]
    private: true
  }
}

@export()
@description('Bastion Developer connects from this address in every region.')
var bastionRule = { name: 'allow-bastion', source: '168.63.129.16', port: '22' }
