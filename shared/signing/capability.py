"""Keys, signatures and encryption: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from shared.capability import Capability
from shared.once import Once
from shared.signing.settings import load_settings
from shared.web import DELETE, FUNCTION, GET, GET_POST, PATCH, POST, PUBLIC, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.health import Probe
    from shared.signing.encryption import NamedKeys
    from shared.signing.keyring import KeyType
    from shared.signing.own import OwnKey
    from shared.signing.routes.fields import CallerLists
    from shared.signing.store import KeyStore
    from shared.storage import Storage


class Signing(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    named_keys: Callable[[], "NamedKeys"]
    """Encrypts under a key by its name, for other capabilities."""
    derive_key: Callable[[str], bytes]
    """32 bytes for a purpose: the source of the app's own MAC keys."""
    cursors: Cursors
    own_key: Callable[[str, "KeyType"], "OwnKey"]
    """One of the app's own signing keys, such as `_tokens`, and its type."""


def build(
    environ: Mapping[str, str], storage: Callable[[], "Storage"], callers: Callable[[], "CallerLists"]
) -> Signing:
    """Connects to nothing. Raises InvalidSetting. `callers` reads the lists of who may use a key."""
    settings = load_settings(environ)
    cursors = Cursors(lambda: keys().derive_key("cursors"))

    @Once
    def keys() -> "KeyStore":
        from shared.signing.master import master_key
        from shared.signing.store import KeyStore

        return KeyStore(
            storage(), master_key(settings.master_key, lambda: storage().credential), settings.key_cache_seconds
        )

    @Once
    def named_keys() -> "NamedKeys":
        from shared.signing.encryption import NamedKeys

        return NamedKeys(keys())

    def own_key(name: str, key_type: "KeyType") -> "OwnKey":
        from shared.signing.own import OwnKey

        return OwnKey(keys(), name, key_type)

    @Once
    def signatures() -> Mapping[str, Operation]:
        from shared.signing.routes.signatures import operations

        return operations(keys(), callers())

    @Once
    def encryption() -> Mapping[str, Operation]:
        from shared.signing.routes.ciphertexts import operations

        return operations(keys(), callers())

    @Once
    def management() -> Mapping[str, Operation]:
        from shared.signing.routes.keys import operations

        return operations(keys(), callers(), cursors)

    @Once
    def published() -> Mapping[str, Operation]:
        from shared.signing.routes.published import operations

        return operations(keys())

    def probes() -> Iterator["Probe"]:
        from shared.health import Probe

        yield Probe("table-storage", "storage", lambda: keys().probe())
        yield Probe("master-key", "master-key", lambda: keys().probe_master_key())
        yield Probe("stored-keys", "keys", lambda: keys().probe_keys(), needed=False)

    return Signing(
        routes=(
            Route("sign", "sign", GET_POST, FUNCTION, signatures),
            Route("verify", "verify", GET_POST, FUNCTION, signatures),
            Route("encrypt", "encrypt", POST, FUNCTION, encryption),
            Route("decrypt", "decrypt", POST, FUNCTION, encryption),
            Route("generate-data-key", "generate-data-key", POST, FUNCTION, encryption),
            Route("rewrap", "rewrap", POST, FUNCTION, encryption),
            Route("create-key", "keys", POST, FUNCTION, management),
            Route("import-key", "keys/import", POST, FUNCTION, management),
            Route("list-keys", "keys", GET, FUNCTION, management),
            Route("get-key", "keys/{name}", GET, FUNCTION, management),
            Route("update-key", "keys/{name}", PATCH, FUNCTION, management),
            Route("delete-key", "keys/{name}", DELETE, FUNCTION, management),
            Route("rotate-key", "keys/{name}/rotate", POST, FUNCTION, management),
            Route("revoke-key", "keys/{name}/revoke", POST, FUNCTION, management),
            Route("restore-key", "keys/{name}/restore", POST, FUNCTION, management),
            Route("export-key", "keys/{name}/export", POST, FUNCTION, management),
            Route("rotate-master-key", "rotate-master-key", POST, FUNCTION, management),
            Route("jwks", "jwks", GET, PUBLIC, published),
            Route("key-jwks", "keys/{name}/jwks", GET, PUBLIC, published),
        ),
        expiring={"keys": keys},
        probes=probes,
        named_keys=named_keys,
        derive_key=lambda purpose: keys().derive_key(purpose),
        cursors=cursors,
        own_key=own_key,
    )
