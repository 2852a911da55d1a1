"""What this capability keeps in, and takes from, the storage account: the only modules here that talk to it."""
