"""`make calibrate` suggests parameters that hash-password accepts."""

import json
import subprocess
import sys

import pytest

from scripts.setup import ROOT
from shared.passwords.argon2 import Parameters
from shared.passwords.costs import check_new
from tests.support import clean_environ


def calibrate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the script."""
    command = [sys.executable, "-m", "scripts.calibrate", *arguments]
    environ = clean_environ() | {"STRONGROOM_HASH_MEMORY_MIB": "128"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["1", "60"])
def test_the_suggestion_is_accepted(target: str) -> None:
    """For any target the suggestion is at least OWASP's minimum, and within a quarter of the memory."""
    done = calibrate(target)
    assert done.returncode == 0, done.stderr
    assert "owasp-46: " in done.stdout
    suggested = json.loads("{" + done.stdout.splitlines()[-1] + "}")["parameters"]
    check_new(Parameters(**suggested))
    assert suggested["memory_kib"] <= 128 * 1024 // 4


@pytest.mark.parametrize("target", ["x", "0", "-5", "1e9", "nan"])
def test_an_invalid_target_is_one_clear_line(target: str) -> None:
    """An invalid number of milliseconds ends the script with one line that explains it."""
    done = calibrate(target)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "milliseconds from 1 to 10000" in done.stderr
