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

import spanrun as sr
from spanrun.testing import FakeClock, plugin

# Whole folders and files that start programs or servers, or draw many examples.
SLOW = frozenset(
    (
        "backends bench cli docs fuzz hosts stateful test_brute_force test_configure "
        "test_conformance test_embedding_server test_faults test_fork test_gradient "
        "test_gradient_refusals test_hostile test_kills test_local_embeddings "
        "test_own_io test_plugin test_processes test_registry test_sampling "
        "test_secrets_whole test_shortage test_shutdown test_sigint test_sigterm "
        "test_solr test_spooled test_store_in_the_way test_variables test_watchdog "
        "typing "
    ).split()  # noqa: SIM905 -- one line each would be a page
)

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
    registry_watch.watch()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW.intersection((*item.path.parts, item.path.stem)):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def make_runner(fake_clock: FakeClock) -> Callable[..., sr.Runner]:
    """Make a runner that lives in the test's virtual time."""
    return functools.partial(sr.Runner, "test", clock=fake_clock)
