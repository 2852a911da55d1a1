"""The functions of sign-in: request and response types, and one short function per route."""
