"""An API that accepts the access tokens of Strongroom, and checks them with PyJWT.

    pip install Flask 'PyJWT[crypto]'
    STRONGROOM=https://your-app.azurewebsites.net/api flask --app resource_server run

It needs no key: the metadata and the public keys are open. PyJWKClient keeps the keys, and fetches them again when a
token names a new one.
"""

import json
import os
from functools import wraps
from urllib.request import urlopen

import jwt
from flask import Flask, g, jsonify, request

ISSUER = os.environ["STRONGROOM"]
AUDIENCE = os.environ.get("AUDIENCE", ISSUER)  # What STRONGROOM_AUDIENCE says; the issuer if it is not set.

with urlopen(f"{ISSUER}/.well-known/openid-configuration") as response:
    metadata = json.load(response)
if metadata["issuer"] != ISSUER:  # RFC 8414, section 3.3.
    raise SystemExit(f"STRONGROOM must be the issuer, {metadata['issuer']}.")
keys = jwt.PyJWKClient(metadata["jwks_uri"])

app = Flask(__name__)


def claims_of(token):
    """The claims of an access token (RFC 9068, section 4). Raises jwt.PyJWTError."""
    header = jwt.get_unverified_header(token)
    if str(header.get("typ")).lower() not in ("at+jwt", "application/at+jwt"):
        raise jwt.InvalidTokenError("This is not an access token.")
    return jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token).key,
        algorithms=["ES256"],
        issuer=ISSUER,
        audience=AUDIENCE,
        options={"require": ["exp", "sub"]},
    )


def signed_in(view):
    """Let a view run only for a signed-in user, whose claims are `g.claims`."""

    @wraps(view)
    def checked(*args, **kwargs):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            g.claims = claims_of(token if scheme.lower() == "bearer" else "")
        except jwt.PyJWTError as error:
            return jsonify(error=str(error)), 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        return view(*args, **kwargs)

    return checked


@app.get("/orders")
@signed_in
def orders():
    """The orders of the signed-in user: look them up by `sub`, which never changes."""
    return jsonify(user_id=g.claims["sub"], two_factors=g.claims["acr"] == "2", orders=[])


@app.delete("/orders")
@signed_in
def delete_orders():
    """For users with a role only: set-roles gives it."""
    if "editor" not in g.claims["roles"]:
        return jsonify(error="This needs the role editor."), 403
    return "", 204
