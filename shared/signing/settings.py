"""The settings of keys, signatures and encryption."""

import os
import re
from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting
from shared.settings import ROOT, read_number, read_text


class SigningSettings(msgspec.Struct, frozen=True):
    """Built by `load_settings`."""

    master_key: str = ""
    """`STRONGROOM_MASTER_KEY`: the path of a file with the key, or the URL of a Key Vault key without a version."""
    key_cache_seconds: float = 30.0
    """`STRONGROOM_KEY_CACHE_SECONDS`: how long another instance may use its copy of a key."""


def load_settings(environ: Mapping[str, str]) -> SigningSettings:
    """Raises InvalidSetting, naming the variable."""
    return SigningSettings(
        master_key=_master_key(environ),
        key_cache_seconds=float(read_number(environ, "STRONGROOM_KEY_CACHE_SECONDS", 30, 0, 3600)),
    )


def _master_key(environ: Mapping[str, str]) -> str:
    text = read_text(environ, "STRONGROOM_MASTER_KEY")
    if "://" in text:
        if not re.fullmatch(r"https://[^/?#@]+/keys/[0-9A-Za-z-]+/?", text):
            raise InvalidSetting(
                "STRONGROOM_MASTER_KEY must be the path of a file, or the URL of a Key Vault key without a version, "
                "such as https://example.vault.azure.net/keys/strongroom."
            )
        return text.rstrip("/")
    return os.path.join(ROOT, text) if text else ""  # noqa: PTH118 - pathlib takes 2 ms to load.
