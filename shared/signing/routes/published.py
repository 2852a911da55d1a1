"""`jwks` and `key-jwks`: the public keys that everybody may read."""

from collections.abc import Callable
from functools import partial
from threading import Lock
from time import monotonic

import msgspec

from shared.errors import StrongroomError
from shared.signing.errors import TooCostly, UnknownKey
from shared.signing.routes.describe import JwksResponse, key_set
from shared.signing.routes.fields import STORE_ERRORS, KeyName
from shared.signing.store import KeyStore
from shared.web import Example, Fields, Operation, Response

JWKS_SECONDS = 60
"""How long a cache outside may keep a key set."""
SHARED_SECONDS = 1.0
"""How long an instance may keep one, which then lacks the latest changes of other instances."""
MAX_SHARED = 1000
"""Key sets in memory."""


class KeyJwksRequest(Fields, frozen=True, kw_only=True):
    name: KeyName


class SharedKeySets:
    """Key sets, each made at most once in SHARED_SECONDS: anybody may request one, which must not load the storage.

    An error is shared for as long, so that waiting callers do not try one after the other. `state` returns another
    object after each change of this instance, which ends the sharing.
    """

    def __init__(self, state: Callable[[], object]) -> None:
        self._state = state
        self._lock = Lock()
        self._sets: dict[str, tuple[float, object, bytes | StrongroomError]] = {}
        self._locks: dict[str, Lock] = {}

    def get(self, name: str, make: Callable[[], JwksResponse]) -> bytes:
        """The set `name` as JSON. Raises the errors of `make`."""
        with self._lock:
            own = self._locks.setdefault(name, Lock())
        with own:
            made_at, made_of, made = self._sets.get(name, (float("-inf"), None, b""))
            now, state = monotonic(), self._state()
            if now - made_at >= SHARED_SECONDS or made_of is not state:
                try:
                    made = msgspec.json.encode(make())
                except StrongroomError as error:
                    made = error
                with self._lock:
                    if len(self._sets) >= MAX_SHARED:
                        self._sets.clear()
                        self._locks.clear()
                    self._sets[name] = (now, state, made)
        if isinstance(made, StrongroomError):
            raise made
        return made


def jwks(keys: KeyStore, shared: SharedKeySets) -> Response:
    return Response(body=shared.get("", lambda: key_set(keys.published())))


def key_jwks(keys: KeyStore, shared: SharedKeySets, fields: KeyJwksRequest) -> Response:
    def make() -> JwksResponse:
        try:
            key = keys.refresh(fields.name)
        except UnknownKey:
            key = None
        if key is None or not key.metadata.published:  # One error for both, because the caller may be anybody.
            raise UnknownKey(
                f"No key {fields.name} is published. Set `published` with update-key, or correct the name."
            )
        return key_set([key])

    return Response(body=shared.get(fields.name, make))


def operations(keys: KeyStore) -> dict[str, Operation]:
    """The public functions of this capability."""
    shared = SharedKeySets(lambda: keys.rows.state)
    return {
        "jwks": Operation(
            handle=partial(jwks, keys, shared),
            request=None,
            response=JwksResponse,
            summary="The public keys of all published keys (RFC 7517): those that verify, and those to encrypt to.\n"
            "Up to 500 versions; beyond that, use the key set of one key.",
            errors=(*STORE_ERRORS, TooCostly),
            cache_seconds=JWKS_SECONDS,
        ),
        "key-jwks": Operation(
            handle=partial(key_jwks, keys, shared),
            request=KeyJwksRequest,
            response=JwksResponse,
            summary="The public keys of one published key (RFC 7517).",
            errors=(*STORE_ERRORS, UnknownKey),
            examples=(Example("A key", {"name": "sample-ed25519"}),),
            cache_seconds=JWKS_SECONDS,
        ),
    }
