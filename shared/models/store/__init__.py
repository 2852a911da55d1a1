"""The parts of this capability that do I/O: records, model files, child processes and endpoints."""
