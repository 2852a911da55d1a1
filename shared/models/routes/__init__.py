"""The HTTP edge of the model functions: request fields, responses, and one short function per route."""
