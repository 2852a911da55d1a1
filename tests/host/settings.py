"""Reads host.json and local.settings.json."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import Refusal


@dataclass(frozen=True)
class Cors:
    """Which pages of other origins may call, answered as Core Tools does."""

    origins: tuple[str, ...]
    credentials: bool

    def headers(self, request: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """What every answer to a request with an `Origin` carries; nothing for an origin that may not call."""
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
    told = _read(path)
    if told.get("version") != "2.0":
        raise Refusal(f'{path}: "version" must be "2.0"')
    http = _part(path, _part(path, told, "extensions"), "http")
    prefix = http.get("routePrefix", "api")
    if not isinstance(prefix, str):
        raise Refusal(f"{path}: routePrefix must be text")
    return prefix.strip("/")


def load_local_settings(app_root: Path) -> Cors | None:
    """Sets the values in the environment where they are not set already, and returns what the file says of CORS."""
    path = app_root / "local.settings.json"
    if not path.exists():
        return None
    told = _read(path)
    if told.get("IsEncrypted"):
        raise Refusal(f"{path}: the local host cannot read encrypted settings")
    for name, value in _part(path, told, "Values").items():
        if not isinstance(value, str):
            raise Refusal(f"{path}: the value of {name} must be text")
        os.environ.setdefault(name, value)
    host = _part(path, told, "Host")
    origins = tuple(filter(None, (origin.strip().lower() for origin in str(host.get("CORS") or "").split(","))))
    credentials = host.get("CORSCredentials") in (True, "true")
    if credentials and "*" in origins:
        raise Refusal(f"{path}: CORS for every origin and CORSCredentials exclude each other")
    return Cors(origins, credentials) if origins else None


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Refusal(f"{path} is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise Refusal(f"{path} must hold a JSON object")
    return told


def _part(path: Path, told: dict[str, Any], name: str) -> dict[str, Any]:
    part = told.get(name) or {}
    if not isinstance(part, dict):
        raise Refusal(f"{path}: {name} must be a JSON object")
    return part
