"""The settings of the console: `STRONGROOM_CONSOLE` and `STRONGROOM_CONSOLE_OPEN`."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from shared.errors import InvalidSetting
from shared.settings import read_flag, read_text, shown

Mode = Literal["on", "off", "modules"]


class ConsoleSettings(msgspec.Struct, frozen=True):
    """Built by `load_settings`."""

    mode: Mode = "on"
    """`STRONGROOM_CONSOLE`: false responds 404 to every request for the console; `modules` serves its sources, which
    only a checkout has."""
    open: bool = False
    """`STRONGROOM_CONSOLE_OPEN`: whether the page may assume that the host enforces no keys, as hosts on a developer's
    machine. It changes only what the page shows."""


def load_settings(environ: Mapping[str, str]) -> ConsoleSettings:
    """Raises InvalidSetting, naming the variable."""
    text = read_text(environ, "STRONGROOM_CONSOLE").lower()
    modes: dict[str, Mode] = {"": "on", "true": "on", "false": "off", "modules": "modules"}
    if text not in modes:
        raise InvalidSetting(
            f"STRONGROOM_CONSOLE must be true or false (modules on your machine), and is {shown(text)}."
        )
    return ConsoleSettings(modes[text], read_flag(environ, "STRONGROOM_CONSOLE_OPEN"))
