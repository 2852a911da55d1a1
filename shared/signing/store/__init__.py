"""Keys at rest in Table Storage, and the master key that protects them."""

from shared.signing.store.keys import DEFAULT_KEY, KeyStore, NewKey, utc_now
from shared.signing.store.rows import TABLE, Key, KeyVersion

__all__ = ["DEFAULT_KEY", "TABLE", "Key", "KeyStore", "KeyVersion", "NewKey", "utc_now"]
