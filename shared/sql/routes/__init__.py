"""The SQL functions: their requests and responses, and one short handler for each."""
