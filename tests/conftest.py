"""For all tests: the fixtures of spanrun's own pytest plugin."""

# isort: off
from tests import speed  # it may replace the clocks that others bind
# isort: on

import functools
import gc
import signal
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from tests import programs, registry_watch, workers
from tests.loggers import Loggers
from tests.slow import SLOW

import spanrun as sr
from spanrun.testing import FakeClock, plugin

# A busy machine is no reason to fail.
settings.register_profile("spanrun", deadline=None)
settings.load_profile("spanrun")


def pytest_addoption(parser: pytest.Parser) -> None:
    speed.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a job in a shell's background; the programs that we start inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "spanrun")
    config.pluginmanager.register(speed.Speed(), "speed")
    config.pluginmanager.register(Loggers(), "loggers")
    registry_watch.watch()
    programs.be_patient()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return workers.count()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    files = config.getvalue("dist") == "loadfile"
    return workers.Scheduling(config, log) if files else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(item.config.rootpath)
        if SLOW.intersection((*path.parts, path.stem)):
            item.add_marker(pytest.mark.slow)
    # Slow files first: no worker has one left when the others are done.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the tests themselves: 0.2 s each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def make_runner(fake_clock: FakeClock) -> Callable[..., sr.Runner]:
    """Make a runner that lives in the test's virtual time."""
    return functools.partial(sr.Runner, "test", clock=fake_clock)
