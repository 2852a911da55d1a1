"""Takes the pictures of the console for README and docs/console.md, with sample data. Run by `make pictures`."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.azurite import start_azurite
from scripts.setup import ROOT, fail
from tests.support import clean_environ, run_sample_app

FOLDER = ROOT / "docs" / "pictures"


def main() -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        fail("Install chromium (Debian: apt install chromium), or set CHROMIUM to its path.")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        azurite = start_azurite(folder / "azurite", in_memory=True)
        try:
            (folder / "app").mkdir()
            with run_sample_app(folder / "app", azurite.connection_string) as app:
                target = json.dumps({"url": app.url, "key": app.function_key, "folder": str(FOLDER)})
                environ = clean_environ() | {"CHROMIUM": chromium}
                subprocess.run(["node", ROOT / "scripts" / "pictures.mjs", target], cwd=ROOT, env=environ, check=True)
        finally:
            azurite.stop()
    for path in sorted(FOLDER.glob("*.png")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
