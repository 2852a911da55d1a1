"""How a file of the console is sent: encoding, caching, and the policy that binds the page. Pure."""

from urllib.parse import urlsplit

from shared.console.files import File
from shared.web import Response
from shared.web.headers import accepts, names_etag

YEAR_SECONDS = 365 * 24 * 3600


def policy(blob_url: str) -> str:
    """The Content-Security-Policy of the console. Its only other origin is that of the users' blobs: it uploads there.

    No inline script or style, no `eval`, no HTML from text (Trusted Types), no frame, no form, no worker.
    """
    parts = urlsplit(blob_url)
    blobs = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        f"connect-src 'self'{blobs}; frame-src 'none'; worker-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def send(file: File, content_policy: str, accept_encoding: str, if_none_match: str) -> Response:
    """The response with `file`, or 304 where the caller has it."""
    packed = file.packed if file.packed is not None and accepts("br", accept_encoding) else None
    etag = file.etag if packed is None else f'{file.etag[:-1]}-br"'
    headers = {
        "etag": etag,
        "vary": "Accept-Encoding",
        "cache-control": f"public, max-age={YEAR_SECONDS}, immutable" if file.immutable else "no-cache",
        "content-security-policy": content_policy,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-resource-policy": "same-origin",
    }
    if if_none_match and names_etag(if_none_match, etag, weak=True):
        return Response(304, b"", file.type, headers)
    if packed is not None:
        headers["content-encoding"] = "br"
    return Response(200, file.body if packed is None else packed, file.type, headers)
