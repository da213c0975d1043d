"""`spanrun diff`: what changed between two recordings, and the gate on it."""

import random

import pytest
from tests.cli.conftest import Cli
from tests.telemetry.recordings.sessions import Recorded, record

from spanrun.cli.exits import Exit

LIMIT = '{{"limit":{{"type":"Limit","concurrency":{}}}}}'


def jobs(factor: float, failed: int = 0, count: int = 100) -> list[Recorded]:
    """Of some 100 ms; ``factor`` times in the service."""
    some = random.Random(1)
    each = [some.uniform(0.08, 0.12) for _ in range(count)]
    return [
        Recorded(0, factor * seconds + 0.01, busy=0.01, ok=n >= failed)
        for n, seconds in enumerate(each)
    ]


@pytest.fixture
def slower(cli: Cli) -> tuple[str, str]:
    """The ids of a session and a slower one."""
    store = cli.folder / ".spanrun"
    a = record(store, {"embed": jobs(1), "old": jobs(1)}, policies=LIMIT.format(14))
    b = record(
        store, {"embed": jobs(1.5, failed=2), "new": jobs(1)}, policies=LIMIT.format(7)
    )
    return a, b


def test_what_changed_is_shown_by_phase(cli: Cli, slower: tuple[str, str]) -> None:
    result = cli("diff", *slower)
    assert (result.code, result.err) == (Exit.OK, "")
    lines = result.out.splitlines()
    assert [line[:3] for line in lines[:2]] == ["A  ", "B  "]
    assert lines[3].startswith("embed took 190 ms instead of 130 ms (1.46×): ")
    rows = {line.split()[0]: line for line in lines if line}
    assert "embed  A: 100 jobs · B: 100 jobs, 2 failed" in lines
    assert rows["busy"].split()[1:] == ["10.0", "ms", "10.0", "ms", "≈"]
    assert rows["service"].endswith(" +50.2 ms   +46.2 ms … +54.4 ms")
    assert " … " in rows["p95"]
    assert "limit" not in rows  # nobody waited for one
    assert "old  in A alone: 100 jobs, 130 ms" in lines
    assert "new  in B alone: 100 jobs, 130 ms" in lines
    assert lines[-2:] == ["settings that differ", "  embed  limit.concurrency  14 → 7"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_the_terminal(cli: Cli, slower: tuple[str, str], width: int) -> None:
    cli.environ["COLUMNS"] = str(width)
    out = cli("diff", *slower).out
    assert max(map(len, out.splitlines())) <= width


def test_compared_with_itself_nothing_differs(
    cli: Cli, slower: tuple[str, str]
) -> None:
    a, _ = slower
    result = cli("diff", a, a, "--fail-if", "mean > 0ms", "--fail-if", "p99>+0%")
    assert result.code == Exit.OK
    rows = [line for line in result.out.splitlines() if " ms  " in line]
    assert rows
    assert all(line.endswith("≈") for line in rows)
    assert "embed took 130 ms, as in A (130 ms)" in result.out
    assert "settings" not in result.out


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("p95 > +10%", "p95 of embed is 187 ms instead of 128 ms (+46.1%"),
        ("service>=+40ms", "service of embed is "),
        ("mean > +0.02s", "mean of embed is "),
        ("failed > 0", "failed of embed is 2 instead of 0"),
        ("failed >= +2%", "failed of embed is 2.00% instead of 0.00%"),
    ],
)
def test_a_true_condition_ends_with_99(
    cli: Cli, slower: tuple[str, str], condition: str, told: str
) -> None:
    result = cli("diff", *slower, "--fail-if", "p50 > +1s", "--fail-if", condition)
    assert result.code == Exit.BROKEN
    assert result.err.startswith(f"spanrun: {condition}: {told}")
    assert result.err.count("\n") == 2


@pytest.mark.parametrize(
    "condition",
    ["p95 > +60%", "service > +60ms", "busy > +1%", "failed > +2", "failed > +2%"],
)
def test_one_that_is_not_true_ends_well(
    cli: Cli, slower: tuple[str, str], condition: str
) -> None:
    result = cli("diff", *slower, "--fail-if", condition)
    assert (result.code, result.err) == (Exit.OK, "")


def test_the_way_back_is_no_regression(cli: Cli, slower: tuple[str, str]) -> None:
    assert cli("diff", *reversed(slower), "--fail-if", "mean > +1%").code == Exit.OK
    assert cli("diff", *reversed(slower), "--fail-if", "mean < -1%").code == 99


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("p95", "can't be understood"),
        ("p96 > 1%", "can't be understood"),
        ("p95 = 1%", "can't be understood"),
        ("p95 > 50", "a time has a unit"),
        ("failed > 5ms", "jobs have no unit"),
    ],
)
def test_a_condition_that_is_none_is_a_wrong_usage(
    cli: Cli, slower: tuple[str, str], condition: str, told: str
) -> None:
    result = cli("diff", *slower, "--fail-if", condition)
    assert result.code == Exit.USAGE
    assert f"--fail-if '{condition}'" in result.err
    assert told in result.err


def test_as_json_it_has_all_numbers(cli: Cli, slower: tuple[str, str]) -> None:
    result = cli("diff", *slower, "--json", "--fail-if", "p95 > +10%")
    assert result.code == Exit.BROKEN
    told = result.json
    assert (told["a"], told["b"]) == slower
    embed, *_ = told["runners"]
    low, high = embed["changes"]["mean"]["interval"]
    assert low < 0.05 < high
    assert embed["b"]["failed"] == 2
    assert told["settings"][0] == {
        "runner": "embed",
        "name": "limit.concurrency",
        "a": 14,
        "b": 7,
    }
    assert [text.split(":")[0] for text in told["broken"]] == ["p95 > +10%"]


def test_a_gate_over_nothing_is_none(cli: Cli, slower: tuple[str, str]) -> None:
    store = cli.folder / ".spanrun"
    other = record(store, {"other": jobs(1)})
    result = cli("diff", slower[0], other, "--fail-if", "p95 > +10%")
    assert result.code == Exit.INPUT
    assert "no runner is in both" in result.err


def test_few_jobs_are_told(cli: Cli) -> None:
    store = cli.folder / ".spanrun"
    a, b = (record(store, {"embed": jobs(factor, count=5)}) for factor in (1, 2))
    out = cli("diff", a, b).out
    assert "no intervals: fewer than 20 jobs (5 in A, 5 in B); it may be chance" in out
    assert "…" not in out


def test_what_is_not_there_is_named(cli: Cli, slower: tuple[str, str]) -> None:
    result = cli("diff", "xyz", slower[1])
    assert result.code == Exit.INPUT
    assert "'xyz': there is no such session or run" in result.err
