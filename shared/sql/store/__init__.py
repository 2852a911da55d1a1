"""What this capability keeps in the storage account: saved queries, exports and datasets."""
