"""SQL over HTTP: one statement per call, bound parameters, limits in the response, one behaviour on every engine."""
