"""For all tests: the fixtures of spanrun's own pytest plugin."""

# isort: off
from tests import speed  # it may replace the clocks that others bind
# isort: on

import functools
import signal
from collections.abc import Callable

import pytest
from hypothesis import settings
from tests import registry_watch
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW.intersection((*item.path.parts, item.path.stem)):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def make_runner(fake_clock: FakeClock) -> Callable[..., sr.Runner]:
    """Make a runner that lives in the test's virtual time."""
    return functools.partial(sr.Runner, "test", clock=fake_clock)
