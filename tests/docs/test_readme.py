"""The README begins with the two commands, and what they print."""

import re

from tests.docs.pages import ROOT, Block, read

README = read(ROOT / "README.md")
RUNNERS = ("split", "extract", "embed", "store", "search")


def shown(command: str) -> Block:
    (block,) = [b for b in README.of("console") if b.code.startswith(f"$ {command}\n")]
    return block


def test_the_first_blocks_are_the_two_commands() -> None:
    assert README.blocks[:2] == [shown("make demo"), shown("make test")]


def test_the_demo_shows_progress_hits_table_times_and_telemetry() -> None:
    printed = shown("make demo").code
    table = printed.partition("\nrunner ")[2].partition("\nwhere the time went\n")
    for runner in RUNNERS:
        assert re.search(rf"^{runner} +\d+ +\d+ +\d", table[0], re.MULTILINE), runner
        assert re.search(rf"^{runner} .* \d+ %", table[2], re.MULTILINE), runner
    assert re.search(r"^split: \d+/\d+ · .* jobs/s", printed, re.MULTILINE)
    assert re.search(r"^\? .+\n  1\. ", printed, re.MULTILINE)
    for line in ("slowest job", "telemetry", "hint"):
        assert f"\n{line} " in printed


def test_the_tests_show_how_many_passed() -> None:
    last = shown("make test").code.rstrip().splitlines()[-1]
    assert re.search(r"\d+ passed.* in \d+", last)
    assert not re.search(r"\bfailed", last)


def test_no_figure_is_older_than_its_machine() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "CPython 3.11" in text
    assert "2 cores" in text
