"""SQL over data files in Blob Storage: DuckDB in a child process, which reads blobs only through the app."""
