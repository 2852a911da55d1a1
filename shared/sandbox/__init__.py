"""Runs an engine in a child process that the app can bound and end: `process` and `child` are the two sides."""
