"""Time-based one-time passwords (RFC 6238): SHA-1, six digits, steps of 30 seconds. Pure.

pyotp computes the codes. It would accept a code twice (RFC 6238, section 5.2), so `matching_step` takes the last step
that was accepted, and the caller stores the new one.
"""

import base64
import hmac
from datetime import datetime
from io import BytesIO

SEED_BYTES = 20
STEP_SECONDS = 30
DIGITS = 6


def normalised(code: str) -> str:
    """The code without spaces: apps show `123 456`, and people type the space."""
    return "".join(code.split())


def encoded_seed(seed: bytes) -> str:
    """The seed in base32 without padding, as people type it into an app."""
    return base64.b32encode(seed).decode().rstrip("=")


def step_at(now: datetime) -> int:
    """The number of the step at a time."""
    return int(now.timestamp()) // STEP_SECONDS


def matching_step(seed: bytes, code: str, now: datetime, *, last_step: int, skew: int) -> int | None:
    """The step of a right code, or None.

    A code is right if it belongs to a step later than `last_step` (-1: none was accepted yet), at most `skew` steps
    before or after `now`.
    """
    import pyotp  # At first use: it takes 49 ms.

    code = normalised(code)
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    generator = pyotp.TOTP(encoded_seed(seed), digits=DIGITS, interval=STEP_SECONDS)
    current = step_at(now)
    matching = None
    # All steps are compared, so that the time does not show which one matched.
    for step in range(max(current - skew, 0), current + skew + 1):
        is_equal = hmac.compare_digest(generator.generate_otp(step), code)
        if is_equal and step > last_step and matching is None:
            matching = step
    return matching


def provisioning_uri(seed: bytes, name: str, issuer: str) -> str:
    """The `otpauth://` URI that an app reads from the QR code."""
    import pyotp

    return pyotp.TOTP(encoded_seed(seed), digits=DIGITS, interval=STEP_SECONDS).provisioning_uri(
        name=name, issuer_name=issuer
    )


def qr_svg(uri: str) -> str:
    """The QR code of a URI as an SVG document, without an XML declaration, so that a page may contain it."""
    import segno  # At first use: it takes 92 ms.

    image = BytesIO()
    code = segno.make(uri, error="m", micro=False)
    code.save(image, kind="svg", scale=4, border=4, light="#fff", xmldecl=False, svgns=True, nl=False)
    return image.getvalue().decode()
