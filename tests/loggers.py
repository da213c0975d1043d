"""Every test leaves the loggers as they were: the next one may look at them."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Final

import pytest

_OURS: Final = ("spanrun", "opentelemetry")

_NEW: Final = (True, logging.NOTSET, ())
State = dict[str, tuple[bool, int, tuple[logging.Handler, ...]]]


class Loggers:
    """A plugin: a test that changes a logger of ours for good fails itself."""

    def __init__(self) -> None:
        self._before: State = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, None, None]:
        self._before = _state()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        yield
        left = {
            name: state
            for name, state in _state().items()
            if state != self._before.get(name, _NEW)
        }
        assert not left, f"loggers (propagate, level, handlers): {left}"


def _state() -> State:
    root = logging.getLogger()
    found: State = {"": (True, root.level, tuple(root.handlers))}
    found["disabled"] = (True, root.manager.disable, ())
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith(_OURS):
            found[name] = (logger.propagate, logger.level, tuple(logger.handlers))
    return found
