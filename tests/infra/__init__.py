"""The templates under infra/, as Resource Manager would evaluate them, and the package that is deployed."""
