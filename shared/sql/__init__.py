"""SQL over HTTP: one statement a call, with bound parameters, limits that are told, and the same answers everywhere."""
