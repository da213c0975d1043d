"""A shell completes commands and options."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.waiting import PATIENCE

from spanrun.cli.exits import Exit


@pytest.mark.parametrize(
    ("words", "completed"),
    [("spanrun di", "diff\n"), ("spanrun diff --fa", "--fail-if\n")],
)
def test_the_shell_is_told_what_a_word_may_become(
    start: Callable[..., subprocess.Popen[str]], words: str, completed: str
) -> None:
    asked = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_SPANRUN_COMPLETE": "complete_bash",
    }
    process = start(args=[str(Path(sys.executable).with_name("spanrun"))], env=asked)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (Exit.OK, completed, "")
