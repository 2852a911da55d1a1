"""Keys at rest in Table Storage, and the master key that protects them."""

from shared.signing.store.keys import KeyStore, NewKey
from shared.signing.store.reading import DEFAULT_KEY, utc_now
from shared.signing.store.rows import TABLE, Key, KeyVersion

__all__ = ["DEFAULT_KEY", "TABLE", "Key", "KeyStore", "KeyVersion", "NewKey", "utc_now"]
