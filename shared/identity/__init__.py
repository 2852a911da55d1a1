"""Sign-in: second factors, passkeys, sessions, single sign-on, and the callers of keys and queries."""
