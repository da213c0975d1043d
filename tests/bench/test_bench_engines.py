"""`python -m bench.engines` itself works, and finds that nothing is lost."""

import sys

import pytest
from bench import engines


@pytest.mark.slow
def test_a_bench_finds_what_a_local_run_gives(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["engines", "process", "--quick"])

    engines.main()

    shown = capsys.readouterr().out
    assert "5 workers killed" in shown
    assert "results equal, job counts equal, errors equal, durations equal" in shown
