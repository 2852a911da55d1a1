"""Filters the calls of schemathesis that never reach the app, and gives sessions to those that need one."""

import json
import os
from typing import Any
from urllib.parse import urlencode

import schemathesis

MAX_QUERY_LENGTH = 64 * 1024
"""The host refuses request lines over 8 KiB with 414. Far beyond, it closes the connection while the client sends."""


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: "schemathesis.Case[Any]") -> bool:
    """Skip headers that are not UTF-8, which the host refuses without a body, and URLs that it does not read whole."""
    query = {str(name): str(value) for name, value in (case.query or {}).items()}
    is_ascii = all(str(value).isascii() for value in (case.headers or {}).values())
    return is_ascii and len(urlencode(query, errors="replace")) <= MAX_QUERY_LENGTH


@schemathesis.auth(refresh_interval=None)
class Sessions:
    """The access token of a session for each function that needs one; checks of the authentication leave it out."""

    def get(self, case: "schemathesis.Case[Any]", context: schemathesis.AuthContext) -> str | None:  # noqa: ARG002
        """The token for the case's function."""
        tokens: dict[str, str] = json.loads(os.environ.get("SESSION_TOKENS", "{}"))
        return tokens.get(case.operation.definition.raw.get("operationId"))

    def set(self, case: "schemathesis.Case[Any]", data: str | None, context: schemathesis.AuthContext) -> None:  # noqa: ARG002
        """Send the token."""
        if data is not None:
            case.headers["Authorization"] = f"Bearer {data}"
