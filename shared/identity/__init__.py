"""Sign-in: second factors, passkeys, sessions, single sign-on, and who may use what."""
