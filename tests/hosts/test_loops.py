"""Every scenario on every kind of loop and thread."""

import asyncio
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.hosts.scenarios import ALL, double
from tests.waiting import PATIENCE

import spanrun as sr

Main = Callable[[], Coroutine[Any, Any, Any]]

pytestmark = pytest.mark.usefixtures("no_leaks")


def plain(main: Main) -> Any:
    return asyncio.run(main())


def debug_mode(main: Main) -> Any:
    return asyncio.run(main(), debug=True)


def on_uvloop(main: Main, *, debug: bool = False) -> Any:
    import uvloop  # noqa: PLC0415 -- optional

    with asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=debug) as runner:
        return runner.run(main())


def on_uvloop_in_debug_mode(main: Main) -> Any:
    return on_uvloop(main, debug=True)


def with_eager_tasks(main: Main) -> Any:
    async def eager() -> Any:
        factory = asyncio.eager_task_factory  # type: ignore[attr-defined]
        asyncio.get_running_loop().set_task_factory(factory)
        return await main()

    return asyncio.run(eager())


def by_run(main: Main) -> Any:
    return sr.run(main())


def by_run_in_debug_mode(main: Main) -> Any:
    return sr.run(main(), debug=True)


def by_run_inside_a_loop(main: Main) -> Any:
    async def outer() -> Any:
        return sr.run(main())

    return asyncio.run(outer())


def by_run_inside_uvloop(main: Main) -> Any:
    async def outer() -> Any:
        return sr.run(main())

    return on_uvloop(outer)


def in_a_thread(main: Main, run: Callable[[Main], Any] = plain) -> Any:
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(run(main))
        except BaseException as error:  # noqa: BLE001 -- raised again below
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert results, "the thread did not end"
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


def by_run_in_a_thread(main: Main) -> Any:
    return in_a_thread(main, by_run)


def by_run_in_an_executor(main: Main) -> Any:
    async def outer() -> Any:
        return await asyncio.to_thread(by_run, main)

    return asyncio.run(outer())


HOSTS = [
    plain,
    debug_mode,
    on_uvloop,
    on_uvloop_in_debug_mode,
    with_eager_tasks,
    by_run,
    by_run_in_debug_mode,
    by_run_inside_a_loop,
    by_run_inside_uvloop,
    in_a_thread,
    by_run_in_a_thread,
    by_run_in_an_executor,
]


@pytest.fixture(params=HOSTS, ids=lambda host: host.__name__)
def host(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    run: Callable[[Main], Any] = request.param
    if "uvloop" in run.__name__ and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    if run is with_eager_tasks and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    return run


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.__name__)
def test_scenario(host, scenario, caplog):
    with caplog.at_level(logging.ERROR, "asyncio"):
        host(scenario)

    assert not caplog.records


def test_uvloop_is_really_the_loop():
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with sr.Runner("host") as runner:
            assert await runner.map(double, [1, 2]) == [2, 4]

    on_uvloop(main)
