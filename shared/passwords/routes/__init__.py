"""The functions for passwords and users: their requests and responses, and one handler each."""
