"""`shutdown`: what it does with its argument."""

from types import SimpleNamespace

import pytest

import spanrun as sr
from spanrun.telemetry import setup


def test_a_timeout_of_0_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    settings = SimpleNamespace(shutdown_timeout=5.0)
    at_exit = SimpleNamespace(cancel=lambda: None)
    telemetry = SimpleNamespace(
        settings=settings, close=asked.append, at_exit=at_exit, recorder=None
    )
    for timeout in (0, None):
        monkeypatch.setattr(setup._state, "telemetry", telemetry)
        sr.shutdown(timeout)
    assert asked == [0, 5.0]
