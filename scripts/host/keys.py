"""The access keys, and the functions that each of them opens."""

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import StartError
from .indexing import Function


@dataclass(frozen=True)
class Keys:
    master: str = field(repr=False)
    function: Mapping[str, str] = field(repr=False)
    """The host's function keys: each opens every function of level FUNCTION."""
    functions: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Each function's own keys, under its name in lower case."""

    def open(self, function: Function, key: str | None) -> bool:
        if function.level == "anonymous":
            return True
        accepted = [self.master]
        if function.level == "function":
            accepted += self.function.values()
            accepted += self.functions.get(function.name.lower(), {}).values()
        return _is_one_of(accepted, key)

    def is_master(self, key: str | None) -> bool:
        return _is_one_of([self.master], key)

    def is_host_key(self, key: str | None) -> bool:
        return _is_one_of(self.function.values(), key)


def load_keys(path: Path) -> Keys:
    """The keys of a file like that of `make_keys`. Raises StartError."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return Keys(
            master=_text(content["master"]),
            function={name: _text(key) for name, key in content.get("function", {}).items()},
            functions={
                function.lower(): {name: _text(key) for name, key in own.items()}
                for function, own in content.get("functions", {}).items()
            },
        )
    except OSError as error:
        raise StartError(f"the keys cannot be read: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The error may quote the file, so its text is not repeated.
        raise StartError(f"{path} is not a file of keys: master, function and functions, in JSON") from error


def make_keys(path: Path) -> None:
    """Write a new master key and a new function key to a file that only its owner can read.

    `functions` takes keys for one function each: `{"sign": {"ci": "…"}}`.
    """
    keys = {
        "master": secrets.token_urlsafe(40),
        "function": {"default": secrets.token_urlsafe(40)},
        "functions": {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(keys, file, indent=2)


def _is_one_of(keys: Iterable[str], key: str | None) -> bool:
    return key is not None and any(hmac.compare_digest(each.encode(), key.encode()) for each in keys)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value
