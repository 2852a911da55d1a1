"""The access keys, and what each of them opens."""

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import Refusal
from .indexing import Function


@dataclass(frozen=True)
class Keys:
    master: str = field(repr=False)
    function: Mapping[str, str] = field(repr=False)
    """The host's function keys: each opens every function of level FUNCTION."""
    functions: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Each function's own keys, under its name in lower case."""

    def open(self, function: Function, given: str | None) -> bool:
        if function.level == "anonymous":
            return True
        opening = [self.master]
        if function.level == "function":
            opening += self.function.values()
            opening += self.functions.get(function.name.lower(), {}).values()
        return _one_of(opening, given)

    def is_master(self, given: str | None) -> bool:
        return _one_of([self.master], given)

    def is_host_key(self, given: str | None) -> bool:
        return _one_of(self.function.values(), given)


def load_keys(path: Path) -> Keys:
    try:
        told = json.loads(path.read_text("utf-8"))
        return Keys(
            master=_text(told["master"]),
            function={name: _text(key) for name, key in told.get("function", {}).items()},
            functions={
                function.lower(): {name: _text(key) for name, key in own.items()}
                for function, own in told.get("functions", {}).items()
            },
        )
    except OSError as error:
        raise Refusal(f"the keys cannot be read: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The error may quote the file, so it is not repeated.
        raise Refusal(f"{path} is not a file of keys: master, function and functions, in JSON") from error


def make_keys(path: Path, functions: Iterable[Function]) -> None:
    """Writes new keys to a file that only its owner can read."""
    made = {
        "master": secrets.token_urlsafe(40),
        "function": {"default": secrets.token_urlsafe(40)},
        "functions": {
            function.name: {"default": secrets.token_urlsafe(40)}
            for function in functions
            if function.is_http and function.level == "function"
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(made, file, indent=2)


def _one_of(keys: Iterable[str], given: str | None) -> bool:
    return given is not None and any(hmac.compare_digest(key.encode(), given.encode()) for key in keys)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value
