"""Sessions, factors, spent tickets and keys of other issuers: the only modules of this capability that do I/O."""
