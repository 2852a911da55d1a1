"""Reads host.json and local.settings.json."""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import StartError

_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:_]+")


@dataclass(frozen=True)
class Cors:
    """The origins whose pages may call. Behaves as Core Tools does: it compares origins letter by letter."""

    origins: tuple[str, ...]
    credentials: bool

    def headers(self, request: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The headers of every response to a request with an `Origin`; none for an origin that may not call."""
        origin = request["origin"]
        if self.origins == ("*",):
            return (("access-control-allow-origin", "*"),)
        if origin not in self.origins:
            return ()
        allowed = [("access-control-allow-origin", origin)]
        if self.credentials:
            allowed.append(("access-control-allow-credentials", "true"))
        if len(self.origins) > 1:
            allowed.append(("vary", "Origin"))
        return tuple(allowed)

    def preflight(self, request: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        allowed = self.headers(request)
        if not allowed:
            return ()
        wanted = ",".join(filter(None, (name.strip() for name in _wanted_headers(request))))
        headers = (("access-control-allow-headers", wanted),) if wanted else ()
        return (*allowed, *headers, ("access-control-allow-methods", request["access-control-request-method"]))


def _wanted_headers(request: Mapping[str, str]) -> list[str]:
    return request.get("access-control-request-headers", "").split(",")


def load_route_prefix(app_root: Path) -> str:
    path = app_root / "host.json"
    content = _read(path)
    if content.get("version") != "2.0":
        raise StartError(f'{path}: "version" must be "2.0"')
    http = _part(path, _part(path, content, "extensions"), "http")
    prefix = http.get("routePrefix", "api")
    if not isinstance(prefix, str):
        raise StartError(f"{path}: routePrefix must be text")
    return prefix.strip("/")


def load_local_settings(app_root: Path) -> Mapping[str, Any]:
    """Put the values into the environment where no value is set already, and return the object `Host` of the file."""
    path = app_root / "local.settings.json"
    if not path.exists():
        return {}
    content = _read(path)
    if content.get("IsEncrypted"):
        raise StartError(f"{path} is encrypted; decrypt it with: func settings decrypt")
    for name, value in _part(path, content, "Values").items():
        text = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(text, str):
            raise StartError(f"{path}: the value of {name} must be text, a number or a boolean")
        # As with Core Tools, the environment beats the file, and an empty variable does not.
        if not os.environ.get(name):
            os.environ[name] = text
    return _part(path, content, "Host")


def load_cors(option: str | None, option_credentials: bool, host: Mapping[str, Any], app_root: Path) -> Cors | None:
    """The origins of the option, or else of local.settings.json. None where neither has one."""
    path = app_root / "local.settings.json"
    text = str(host.get("CORS") or "") if option is None else option
    credentials = host.get("CORSCredentials") in (True, "true") if option is None else option_credentials
    # Core Tools keeps blanks, so an origin after ", " never matches there. Neither does it here, and a warning says so.
    origins = tuple(filter(None, text.split(",")))
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            shown = json.dumps(origin)
            print(
                f"warning: CORS in local.settings.json: {shown} never matches. Write an origin as scheme://host, "
                "in lower case, without blanks, path or slash at its end, and no blank after a comma.",
                file=sys.stderr,
            )
    if credentials and "*" in origins:
        raise StartError(f"{path}: CORS for every origin and CORSCredentials exclude each other")
    return Cors(origins, credentials) if origins else None


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Numbers stay as they are written, because settings are text."""
    try:
        content = json.loads(path.read_text("utf-8-sig"), parse_int=str, parse_float=str)
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"{path} is not JSON (comments are not read): {error}") from error
    if not isinstance(content, dict):
        raise StartError(f"{path} must hold a JSON object")
    return content


def _part(path: Path, content: dict[str, Any], name: str) -> dict[str, Any]:
    part = content.get(name) or {}
    if not isinstance(part, dict):
        raise StartError(f"{path}: {name} must be a JSON object")
    return part
