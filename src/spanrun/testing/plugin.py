"""The pytest plugin: the fixtures ``fake_clock``, ``spanrun_capture``, ``no_leaks``.

It needs no other plugin, and goes along with pytest-asyncio and anyio.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from spanrun.testing.captured import Captured
    from spanrun.testing.clock import FakeClock


@pytest.fixture
def fake_clock() -> FakeClock:
    """A `spanrun.testing.FakeClock`; an async test that asks for it runs on it.

    Async fixtures don't: they have another plugin's loop.
    """
    from spanrun.testing.clock import FakeClock  # noqa: PLC0415 -- only who asks pays

    return FakeClock()


@pytest.fixture
def spanrun_capture(request: pytest.FixtureRequest) -> Iterator[Captured]:
    """What spanrun emits during the test: a `spanrun.testing.Captured`.

    Spans are timed by ``fake_clock`` where the test has it.
    """
    from spanrun.testing.captured import capture  # noqa: PLC0415 -- only who asks pays

    clock = None
    if "fake_clock" in request.fixturenames:
        clock = request.getfixturevalue("fake_clock")
    with capture(clock) as captured:
        yield captured


@pytest.fixture
def no_leaks() -> None:
    """Fail the test when it leaves a task, thread, socket, slot or span behind."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Put `no_leaks` around a test that asks for it."""
    if isinstance(item, pytest.Function) and "no_leaks" in item.fixturenames:
        test = item.obj
        item.obj = _checked(test)
        try:
            return (yield)
        finally:
            item.obj = test
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test on the fake clock that it asks for."""
    clock: Any = pyfuncitem.funcargs.get("fake_clock")
    if clock is None:
        return None
    # Another plugin may have put a plain function around the async one.
    test = inspect.unwrap(pyfuncitem.obj, stop=inspect.iscoroutinefunction)
    if not inspect.iscoroutinefunction(test):
        return None
    names = inspect.signature(test).parameters
    clock.run(test(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _checked(test: Callable[..., Any]) -> Callable[..., Any]:
    from spanrun.testing.leaks import no_leaks as check  # noqa: PLC0415 -- only who asks pays

    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def awaited(*args: Any, **kwargs: Any) -> None:
            async with check():
                await test(*args, **kwargs)

        return awaited

    @functools.wraps(test)
    def called(*args: Any, **kwargs: Any) -> None:
        with check():
            test(*args, **kwargs)

    return called
