"""The settings of blobs."""

from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting
from shared.settings import read_flag, read_text

BLOB_PRICES = {"Hot": 0.018, "Cool": 0.01, "Cold": 0.0036, "Archive": 0.00099}
"""US dollars per GiB and month, locally redundant, East US; other regions and redundancies differ."""


class BlobSettings(msgspec.Struct, frozen=True):
    """Built by `load_settings`."""

    prices: Mapping[str, float] = msgspec.field(default_factory=lambda: BLOB_PRICES)
    """`STRONGROOM_BLOB_PRICES`: the price of a GiB per month by tier, as a JSON object."""
    inline_html: bool = False
    """`STRONGROOM_INLINE_HTML`: whether browsers may show HTML and SVG, in a sandbox without an origin."""
    storage_private: bool = False
    """`STRONGROOM_STORAGE_PRIVATE`: whether only a private network reaches the storage account."""


def load_settings(environ: Mapping[str, str]) -> BlobSettings:
    """Raises InvalidSetting, naming the variable."""
    return BlobSettings(
        prices=_prices(environ, "STRONGROOM_BLOB_PRICES"),
        inline_html=read_flag(environ, "STRONGROOM_INLINE_HTML"),
        storage_private=read_flag(environ, "STRONGROOM_STORAGE_PRIVATE"),
    )


def _prices(environ: Mapping[str, str], name: str) -> Mapping[str, float]:
    text = read_text(environ, name)
    if not text:
        return BLOB_PRICES
    try:
        prices = msgspec.json.decode(text, type=dict[str, float])
    except msgspec.DecodeError:
        prices = {"": -1.0}
    if any(price < 0 for price in prices.values()):
        raise InvalidSetting(f'{name} must be a JSON object of prices by tier, such as {{"Hot": 0.018}}.')
    return prices
