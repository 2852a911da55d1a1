"""Serves the app of the working directory through Microsoft's worker library: a JSON object a line, in and out."""

import base64
import json
import logging
import sys
from pathlib import Path

from .library import ServerError, Worker


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("azure.functions").setLevel(logging.ERROR)
    responses, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, str(Path.cwd()))
    worker = Worker(Path.cwd())
    names = {name: function.trigger for name, function in worker.functions.items()}
    print(json.dumps(names), file=responses, flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            if "timer" in call:
                worker.run_timer(call["timer"])
                result: dict[str, object] = {"status": 202}
            else:
                body = base64.b64decode(call["body_base64"])
                response = worker.call(call["method"], call["target"], call["headers"], body)
                result = {
                    "function": worker.find(call["method"], call["target"]),
                    "status": response.status,
                    "headers": dict(response.headers),
                    "body_base64": base64.b64encode(response.body).decode(),
                }
        except ServerError as error:
            result = {"status": 500, "error": str(error)}
        print(json.dumps(result), file=responses, flush=True)


if __name__ == "__main__":
    main()
