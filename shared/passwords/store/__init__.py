"""Users, attempts and breached passwords: the only modules of this capability that call a service."""
