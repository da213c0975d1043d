"""Under pytest-asyncio: in the tests, in fixtures, on a loop of the module's own."""

import asyncio
import contextvars
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.hosts.scenarios import ALL, double

import spanrun as sr


@pytest_asyncio.fixture
async def open_runner() -> AsyncIterator[sr.Runner]:
    async with sr.Runner("fixture", limit=2) as runner:
        yield runner


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_runner() -> AsyncIterator[sr.Runner]:
    async with sr.Runner("module", limit=2) as runner:
        yield runner


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.__name__)
async def test_scenario(scenario):
    await scenario()


async def test_a_runner_can_come_from_a_fixture(open_runner):
    assert await open_runner.map(double, [1, 2, 3]) == [2, 4, 6]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_runner_can_be_shared_by_the_tests_of_a_module(shared_runner):
    assert await shared_runner.map(double, [1, 2, 3]) == [2, 4, 6]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_shared_runner_takes_the_context_of_each_caller(shared_runner):
    variable = contextvars.ContextVar("variable", default="unset")

    async def look(_):
        return variable.get()

    token = variable.set("mine")
    assert await shared_runner.map(look, [1]) == ["mine"]
    assert await shared_runner.call(look, 1) == "mine"
    variable.reset(token)


def test_a_plain_test_can_run_async_code():
    async def main():
        return asyncio.get_running_loop().is_running()

    assert sr.run(main())
