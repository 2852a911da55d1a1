"""What of schemathesis's calls never reaches the app."""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: "schemathesis.Case[Any]") -> bool:
    """No headers that the host itself refuses, without a body: those that are not UTF-8, as Latin-1 is not."""
    return all(str(value).isascii() for value in (case.headers or {}).values())
