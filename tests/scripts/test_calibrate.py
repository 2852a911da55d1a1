"""`make calibrate` suggests parameters that hash-password takes."""

import json
import subprocess
import sys

import pytest

from scripts.setup import ROOT
from shared.passwords.argon2 import Parameters
from shared.passwords.hashing import check_cost
from tests.support import clean_environ


def calibrate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the script."""
    command = [sys.executable, "-m", "scripts.calibrate", *arguments]
    environ = clean_environ() | {"STRONGROOM_HASH_MEMORY_MIB": "128"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["1", "60"])
def test_the_suggestion_is_taken(target: str) -> None:
    """Whatever the target, what is suggested is no weaker than OWASP's minimum, and within a quarter of the memory."""
    ran = calibrate(target)
    assert ran.returncode == 0, ran.stderr
    assert "owasp-46: " in ran.stdout
    suggested = json.loads("{" + ran.stdout.splitlines()[-1] + "}")["parameters"]
    check_cost(Parameters(**suggested))
    assert suggested["memory_kib"] <= 128 * 1024 // 4


@pytest.mark.parametrize("target", ["x", "0", "-5", "1e9", "nan"])
def test_a_target_that_is_none_is_one_clear_line(target: str) -> None:
    """A target that is no sensible number of milliseconds ends it with a line that says so."""
    ran = calibrate(target)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "milliseconds from 1 to 10000" in ran.stderr
