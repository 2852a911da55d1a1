"""The functions of this capability: signatures, ciphertexts, keys, and the public keys that everybody may read."""
