"""The event loop that `asyncio_run` keeps between its calls, in the main thread."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading

import httpx
import pytest
from tests.waiting import PATIENCE

import spanrun as sr
from spanrun.async_utils import asyncio_run, run_async_tasks
from spanrun.runner.kept import kept
from spanrun.testing.embedding_server import EmbeddingServer

pytestmark = pytest.mark.usefixtures("_none_before", "no_leaks")

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def _none_before():
    """Without the loop that another test may have made."""
    kept.close()


async def loop():
    return asyncio.get_running_loop()


def program(source: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_all_calls_in_the_main_thread_have_one_loop():
    first = asyncio_run(loop())

    assert asyncio_run(loop()) is first
    assert run_async_tasks([loop()]) == [first]
    assert not first.is_closed()


def test_an_httpx_client_is_shared_by_two_calls():
    with EmbeddingServer(latency=0, jitter=0, rate_limited=0, unavailable=0) as server:
        client = httpx.AsyncClient()

        async def ask():
            body = {"model": "m", "input": ["a"]}
            response = await client.post(f"{server.url}/v1/embeddings", json=body)
            return response.status_code

        assert [asyncio_run(ask()), asyncio_run(ask())] == [200, 200]
        asyncio_run(client.aclose())


def test_sr_run_has_a_loop_of_its_own_each_time():
    mine = asyncio_run(loop())
    theirs = sr.run(loop())

    assert theirs is not mine
    assert theirs.is_closed()
    assert asyncio_run(loop()) is mine


async def test_inside_a_running_loop_each_call_has_its_own():
    first, second = asyncio_run(loop()), asyncio_run(loop())

    assert first is not second
    assert asyncio.get_running_loop() not in (first, second)
    assert first.is_closed()
    assert not kept.open


def test_in_another_thread_each_call_has_its_own():
    mine, seen = asyncio_run(loop()), []
    thread = threading.Thread(target=lambda: seen.append(asyncio_run(loop())))
    thread.start()
    thread.join()

    assert seen[0] is not mine
    assert seen[0].is_closed()


def test_a_call_inside_a_call_has_its_own():
    async def outer():
        return asyncio.get_running_loop(), asyncio_run(loop())

    outside, inside = asyncio_run(outer())

    assert outside is not inside
    assert asyncio_run(loop()) is outside


def test_the_loop_of_asyncio_is_left_alone():
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    try:
        assert asyncio_run(loop()) is not mine
        assert asyncio.get_event_loop() is mine
    finally:
        asyncio.set_event_loop(None)
        mine.close()


@pytest.mark.parametrize("error", [None, KeyError("mine"), SystemExit(3)])
def test_what_a_call_left_running_is_cancelled_at_its_end(error):
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def main():
        asyncio_tasks.append(asyncio.create_task(forever()))
        await asyncio.sleep(0)
        if error is not None:
            raise error

    asyncio_tasks: list[asyncio.Task[None]] = []
    if error is None:
        asyncio_run(main())
    else:
        with pytest.raises(type(error)) as raised:
            asyncio_run(main())
        assert raised.value is error

    assert ended == [True]
    assert asyncio_tasks[0].cancelled()
    assert asyncio_run(asyncio.sleep(0, "next")) == "next"


def test_a_task_that_cancellation_makes_is_cancelled_too():
    made = []

    async def again():
        try:
            await asyncio.Event().wait()
        finally:
            if len(made) < 3:
                made.append(asyncio.ensure_future(again()))
                await asyncio.sleep(0)

    async def main():
        made.append(asyncio.ensure_future(again()))
        await asyncio.sleep(0)

    asyncio_run(main())

    assert len(made) == 3
    assert all(task.done() for task in made)


def test_an_error_in_a_left_task_is_told_to_the_loops_handler():
    told = []

    async def fails():
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("late")

    async def main():
        running = asyncio.get_running_loop()
        running.set_exception_handler(lambda _, context: told.append(context))
        main.task = asyncio.create_task(fails())
        await asyncio.sleep(0)

    asyncio_run(main())

    assert [type(each["exception"]) for each in told] == [KeyError]


def test_an_async_generator_lives_on_between_calls_and_is_closed_with_the_loop():
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def following():
        return await anext(given)

    given = numbers()
    assert asyncio_run(following()) == 1
    assert asyncio_run(following()) == 2
    assert closed == []
    kept.close()
    assert closed == [True]


def test_threads_of_the_executor_live_on_and_end_with_the_loop():
    async def where():
        return await asyncio.to_thread(threading.current_thread)

    thread = asyncio_run(where())

    assert asyncio_run(where()) is thread
    kept.close()
    assert not thread.is_alive()


def test_a_loop_that_somebody_closed_is_replaced():
    first = asyncio_run(loop())
    first.close()

    assert asyncio_run(loop()) is not first


def test_a_call_amid_another_use_of_the_loop_has_its_own():
    mine = asyncio_run(loop())
    with kept:
        assert kept.lend() is None
        assert asyncio_run(loop()) is not mine
    assert asyncio_run(loop()) is mine


def test_ctrl_c_cancels_main_and_the_loop_is_kept():
    mine = asyncio_run(loop())
    ended = []

    async def main():
        try:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        asyncio_run(main())

    assert ended == [True]
    assert asyncio_run(loop()) is mine


def test_ctrl_c_while_what_is_left_ends_gives_the_loop_up():
    mine = asyncio_run(loop())

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await asyncio.Event().wait()

    async def main():
        main.task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt):
        asyncio_run(main())

    assert mine.is_closed()
    main.task._log_destroy_pending = False
    assert asyncio_run(loop()) is not mine


def test_at_exit_nothing_is_left_to_warn_of():
    done = program(
        """
        import asyncio, atexit
        from spanrun.async_utils import asyncio_run

        async def numbers():
            try:
                while True:
                    yield 1
            finally:
                await asyncio.sleep(0)
                print("generator closed")

        async def main():
            await asyncio.to_thread(int)
            await asyncio.get_running_loop().getaddrinfo("localhost", 80)
            return await anext(given)

        async def close():
            print("closed on the same loop", asyncio.get_running_loop() is same)

        async def loop():
            return asyncio.get_running_loop()

        given = numbers()
        atexit.register(lambda: asyncio_run(close()))
        same = asyncio_run(loop())
        asyncio_run(main())
        """,
        "-X",
        "dev",
        "-W",
        "error",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "closed on the same loop True",
        "generator closed",
    ]


CHILD = """
    import asyncio, os, socket, sys
    from spanrun.async_utils import asyncio_run

    here, there = socket.socketpair()
    here.setblocking(False)

    class Hears(asyncio.Protocol):
        def __init__(self):
            self.heard = asyncio.get_running_loop().create_future()

        def data_received(self, data):
            self.heard.set_result(data)

    async def connect():
        running = asyncio.get_running_loop()
        return running, *(await running.create_connection(Hears, sock=here))

    loop, transport, protocol = asyncio_run(connect())
    sys.stdout.flush()
"""

PARENT = """
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    there.send(b"after the child")

    async def hear():
        async with asyncio.timeout(30):
            await asyncio.to_thread(int)  # wakes the loop from another thread
            return await protocol.heard

    print(asyncio_run(hear()), status)
    transport.close()
    asyncio_run(asyncio.sleep(0))
    there.close()
"""


@forks
@pytest.mark.parametrize(
    "act",
    [
        "pass",
        "asyncio_run(asyncio.sleep(0))",
        "transport.close()",
        "transport.abort()",
        "del transport, protocol, loop; import gc; gc.collect()",
        "transport.close(); asyncio_run(asyncio.sleep(0)); import gc; gc.collect()",
    ],
)
@pytest.mark.parametrize("leave", ["sys.exit(7)", "os._exit(7)"])
def test_what_a_forked_child_does_leaves_the_parents_loop_alone(act, leave):
    body = f"""
    child = os.fork()
    if not child:
        try:
            {act}
        except RuntimeError as error:
            assert "closed" in str(error), error
        {leave}
    """
    done = program(CHILD + body + PARENT)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b'after the child' 7\n"


@forks
def test_a_child_that_is_forked_inside_a_call_leaves_the_parents_loop_alone():
    body = """
    async def fork():
        asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        return os.fork()

    child = asyncio_run(fork())
    if not child:
        async def other():
            return asyncio.get_running_loop()
        assert asyncio_run(other()) is not loop
        assert asyncio_run(asyncio.sleep(0, "child")) == "child"
        sys.exit(7)
    """
    done = program(CHILD + body + PARENT)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b'after the child' 7\n"


@forks
def test_a_child_has_a_loop_of_its_own_and_keeps_that():
    body = """
    async def which():
        return asyncio.get_running_loop()

    child = os.fork()
    if not child:
        first = asyncio_run(which())
        assert first is not loop
        assert asyncio_run(which()) is first
        sys.exit(7)
    """
    done = program(CHILD + body + PARENT)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b'after the child' 7\n"
