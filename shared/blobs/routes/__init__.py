"""The HTTP edge of the blob functions: request fields, responses, and one short function per route."""
