"""Lists of callers: who may use a key or a saved query, by the bearer token of the call. Pure.

    user:<user_id>  role:<name>                                   users of this app
    user:<ISSUER>/<subject>  role:<ISSUER>/<name>  app:<ISSUER>/<client id>    tokens of a trusted issuer

ISSUER is the NAME of its setting `TRUSTED_ISSUER_<NAME>`, or its URL.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from shared.errors import FieldError, InvalidRequest
from shared.identity.issuers import Identity

MAX_ENTRIES = 100
MAX_LENGTH = 512

ROLE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_USER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ISSUER_NAME = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_URL = re.compile(r"https?://[^/\s]+(/|/.*/)[^/\s]+", re.IGNORECASE)


class OwnCaller(msgspec.Struct, frozen=True):
    """A user of this app, by an access token of a session."""

    user_id: str
    roles: frozenset[str]


def check_entries(entries: Sequence[str]) -> None:
    """Raise InvalidRequest, naming each entry that no caller can match."""
    errors = [
        FieldError(
            f"callers[{position}]",
            f"`callers[{position}]` is not a caller. Write user:<user_id>, role:<name>, user:<ISSUER>/<subject>, "
            "role:<ISSUER>/<name> or app:<ISSUER>/<client id>.",
        )
        for position, entry in enumerate(entries)
        if not _is_entry(entry)
    ]
    if len(entries) > MAX_ENTRIES:
        errors.append(FieldError("callers", f"`callers` holds at most {MAX_ENTRIES} entries."))
    if errors:
        detail = " ".join(each.detail for each in errors[:5])
        raise InvalidRequest(detail, errors=tuple(errors[:20]), error_count=len(errors))


def is_listed(caller: OwnCaller | Identity, entries: Iterable[str], issuer_urls: Sequence[str]) -> bool:
    """Whether one of the entries names the caller; `issuer_urls` are those of all trusted issuers."""
    return any(_names(entry, caller, issuer_urls) for entry in entries)


def _is_entry(entry: str) -> bool:
    kind, _, rest = entry.partition(":")
    if len(entry) > MAX_LENGTH or not entry.isprintable():
        return False
    if rest[:8].lower().startswith(("http://", "https://")):
        return kind in ("user", "role", "app") and bool(_URL.fullmatch(rest))
    issuer, slash, value = rest.partition("/")
    if slash:
        is_complete = bool(_ISSUER_NAME.fullmatch(issuer)) and bool(value) and value.strip() == value
        return kind in ("user", "role", "app") and is_complete
    return bool({"user": _USER_ID, "role": ROLE}[kind].fullmatch(rest)) if kind in ("user", "role") else False


def _names(entry: str, caller: OwnCaller | Identity, issuer_urls: Sequence[str]) -> bool:
    kind, _, rest = entry.partition(":")
    if isinstance(caller, OwnCaller):
        return rest.lower() == caller.user_id.lower() if kind == "user" else kind == "role" and rest in caller.roles
    if rest[:8].lower().startswith(("http://", "https://")):
        # The longest URL: the subject `b/c` of https://a is not the subject `c` of https://a/b.
        urls = [each for each in (*issuer_urls, caller.url) if rest.startswith(f"{each}/")]
        issuer = max(urls, key=len, default="")
        if issuer not in (caller.url, caller.issuer.url):
            return False
        value = rest.removeprefix(f"{issuer}/")
    else:
        issuer, slash, value = rest.partition("/")
        if not slash or issuer.upper() != caller.issuer.name.upper():
            return False
    if kind == "user":
        return value == caller.subject
    if kind == "role":
        return value in caller.roles
    return kind == "app" and value == caller.client
