"""Indexes and calls the app in a process that has only the unpacked package, like Azure's worker.

Run by tests/infra/test_package.py: `python -I deployed.py <folder of the package>`. Calls come on standard input, one
JSON object a line with `function`, `method`, `url`, `headers` and `body`; a response goes out for each.
"""

import json
import os
import sys
from pathlib import Path


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    import azure.functions as func

    import function_app  # type: ignore[import-not-found,unused-ignore]

    functions = {each.get_function_name(): each for each in function_app.app.get_functions()}
    # Whatever is loaded comes from the package, the environment of its requirements, or the standard library.
    homes = {str(Path(folder).resolve()), str(Path(sys.prefix).resolve()), str(Path(os.__file__).resolve().parent)}
    files = [str(Path(file).resolve()) for each in sys.modules.values() if (file := getattr(each, "__file__", None))]
    homes.add(str(Path(__file__).resolve()))
    strangers = [file for file in files if not any(map(file.startswith, homes))]
    triggers = {name: getattr(each.get_trigger(), "type", None) for name, each in functions.items()}
    print(json.dumps({"functions": triggers, "strangers": strangers}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        request = func.HttpRequest(
            method=call["method"],
            url=call["url"],
            headers=call.get("headers", {}),
            params={},
            route_params=call.get("route_params", {}),
            body=call.get("body", "").encode(),
        )
        response = functions[call["function"]].get_user_function()(request)
        print(json.dumps({"status": response.status_code, "body": response.get_body().decode()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
