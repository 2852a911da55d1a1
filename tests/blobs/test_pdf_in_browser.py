"""PDF blobs in Chromium: its viewer shows them, and nothing in them acts as a page of the app."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.console.conftest import find_chromium
from tests.support import ROOT, App, clean_environ

CHROMIUM = find_chromium()
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and NODE and (ROOT / "node_modules" / "playwright-core").exists()),
    reason="needs Chromium, Node and playwright-core (make setup)",
)


def a_pdf(script: str) -> bytes:
    """A PDF of one page that runs `script` when it is opened (ISO 32000-1, 12.6.4.16)."""
    objects = [
        f"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS({script})>>>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>",
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj{each}endobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"xref\n0 4\n0000000000 65535 f \n{table}trailer<</Size 4/Root 1 0 R>>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + end.encode()


def test_a_pdf_is_shown_and_calls_nothing(running_app: App, tmp_path: Path) -> None:
    """A PDF opens in the viewer, which is an extension with an origin of its own; neither its script nor HTML that is
    stored as PDF calls the app."""
    assert CHROMIUM is not None
    assert NODE is not None
    call = "fetch('/api/live?from=blob'); new XMLHttpRequest()"
    html = f"<title>taken over</title><script>document.title = 'run'; {call}</script>"
    blobs = {
        "script.pdf": a_pdf(call.replace("(", r"\(").replace(")", r"\)")),
        "html.pdf": html.encode(),
    }
    with running_app.client() as client:
        client.post("/api/containers", json={"container": "browser-pdf"})
        for name, content in blobs.items():
            stored = client.put(
                f"/api/blobs/browser-pdf/{name}", content=content, headers={"content-type": "application/pdf"}
            )
            assert stored.is_success
            response = client.get(f"/api/blobs/browser-pdf/{name}")
            assert response.headers["content-type"] == "application/pdf"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "content-security-policy" not in response.headers
    urls = [f"{running_app.url}/api/blobs/browser-pdf/{name}?code={running_app.function_key}" for name in blobs]
    ran = subprocess.run(
        [NODE, Path(__file__).parent / "pdf.mjs", CHROMIUM, *urls],
        cwd=ROOT,
        env=clean_environ() | {"HOME": os.fspath(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for url, page in json.loads(ran.stdout).items():
        assert page["frames"][1].startswith("chrome-extension://"), page
        assert {each for each in page["requests"] if each.startswith("http")} == {url}
        assert page["title"] not in ("taken over", "run")
