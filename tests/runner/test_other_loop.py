"""A runner belongs to the event loop that it was opened on."""

import asyncio

import pytest

import spanrun as sr


async def test_a_runner_is_refused_on_another_loop() -> None:
    async def nothing(_: int) -> None:
        """Never runs."""

    async with sr.Runner("here", limit=1) as runner:
        with pytest.raises(sr.ConfigurationError, match="another event loop"):
            sr.run(runner.map(nothing, [1]))
        assert await runner.map(asyncio.sleep, [0]) == [None]
