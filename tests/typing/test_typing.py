"""Both checkers, strict, on code that must pass and on code that must not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MARK = "# refused"


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def pyright(file: Path, scratch: Path) -> dict[int, str]:
    # A project of its own: pyright reads no settings for a file by itself.
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (scratch / "pyrightconfig.json").write_text(json.dumps(settings))
    shutil.copy(file, scratch)
    out = run(
        "pyright", "--outputjson", "-p", str(scratch), "--pythonpath", sys.executable
    )
    answer = json.loads(out)
    assert answer["summary"]["filesAnalyzed"] == 1, out
    return {
        found["range"]["start"]["line"] + 1: found["message"]
        for found in answer["generalDiagnostics"]
        if found["severity"] == "error"
    }


def mypy(file: Path, scratch: Path) -> dict[int, str]:
    out = run(
        "mypy",
        "--strict",
        "--python-version=3.11",
        "--follow-imports=silent",
        "--output=json",
        f"--config-file={os.devnull}",
        f"--cache-dir={scratch.parent / 'mypy-cache'}",
        str(file),
    )
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert all(each["file"].endswith(file.name) for each in found), out
    return {
        each["line"]: each["message"] for each in found if each["severity"] == "error"
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accepted.py", "refused.py"])
@pytest.mark.parametrize("check", [pyright, mypy])
def test_the_checker_refuses_the_marked_lines_and_no_others(check, name, tmp_path):
    file = HERE / name
    lines = file.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}

    refused = check(file, tmp_path)

    passed = [
        f"{number}: {lines[number - 1].strip()}" for number in marked - {*refused}
    ]
    surprising = {number: refused[number] for number in {*refused} - marked}
    assert not surprising, surprising
    assert not passed, passed
