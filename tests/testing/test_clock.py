import asyncio
import socket
import threading
import time

import pytest

import spanrun as sr
from spanrun.testing import Deadlock, FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def test_thirty_years_take_no_time(clock):
    assert clock.run(asyncio.sleep(1e9, "done")) == "done"
    assert clock.now() == 1e9


def test_timers_run_in_their_order(clock):
    async def main():
        seen = []
        loop = asyncio.get_running_loop()
        for seconds in (5, 1, 3):
            loop.call_later(seconds, lambda s=seconds: seen.append((s, clock.now())))
        await asyncio.sleep(9)
        return seen

    assert clock.run(main()) == [(1, 1), (3, 3), (5, 5)]


def test_time_stands_still_while_anything_can_run(clock):
    async def main():
        sleeper = asyncio.create_task(asyncio.sleep(1))
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert clock.now() == 0
        assert not sleeper.done()
        await sleeper

    clock.run(main())


def test_loops_and_timeouts_are_in_its_time(clock):
    async def main():
        loop = asyncio.get_running_loop()
        assert loop.time() == clock.now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.sleep(8)
        assert loop.time() == clock.now() == 7
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        assert clock.now() == 9

    clock.run(main())


def test_it_is_the_clock_of_a_runner(clock):
    async def job(seconds):
        clock.advance(0.5)
        await asyncio.sleep(seconds)

    async def main():
        async with sr.Runner("test", clock=clock) as runner:
            return await runner.map(job, [2], errors="collect")

    (outcome,) = clock.run(main())
    timings = outcome.timings
    assert (timings.busy, timings.service, timings.duration) == (0.5, 2, 2.5)


def test_wall_time_goes_along(clock):
    before = clock.wall_ns(clock.now())
    clock.advance(1.5)
    assert clock.wall_ns(clock.now()) - before == 1_500_000_000


def test_time_does_not_go_back(clock):
    with pytest.raises(ValueError, match=r"advance\(seconds=-1\)"):
        clock.advance(-1)


def test_a_clock_can_be_used_again_and_goes_on(clock):
    clock.run(asyncio.sleep(5))
    clock.run(asyncio.sleep(5))
    assert clock.now() == 10


def test_the_same_each_time():
    async def main():
        seen = []

        async def work(name, pace):
            for _ in range(5):
                await asyncio.sleep(pace)
                seen.append(name)

        await asyncio.gather(work("a", 0.3), work("b", 0.5), work("c", 0.7))
        return seen

    runs = {tuple(FakeClock().run(main())) for _ in range(5)}
    assert len(runs) == 1


def test_a_deadlock_is_an_error_that_names_who_waits_and_where(clock):
    async def wait_for_ever():
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(wait_for_ever(), name="the waiter")
        await task

    with pytest.raises(Deadlock) as caught:
        clock.run(main())
    assert "'the waiter' in " in str(caught.value)
    assert f"wait_for_ever ({__file__}:" in str(caught.value)


def test_a_deadlock_in_a_job_names_the_users_line(clock):
    async def stuck_job(_):
        await asyncio.Event().wait()

    async def main():
        async with sr.Runner("test", clock=clock) as runner:
            await runner.map(stuck_job, [1])

    with pytest.raises(Deadlock, match=r"'spanrun job test' in .*stuck_job"):
        clock.run(main())


def test_after_a_deadlock_the_tasks_are_cancelled(clock):
    seen = []

    async def main():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned up")

    with pytest.raises(Deadlock):
        clock.run(main())
    assert seen == ["cleaned up"]


def test_sockets_work_and_are_served_before_time_moves(clock):
    async def echo(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        async with server, asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"hello\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return answer

    assert clock.run(main()) == b"HELLO\n"
    assert clock.now() < 1


def test_without_a_timer_a_socket_is_waited_for_really(clock):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        timer = threading.Timer(0.02, theirs.send, [b"late"])

        async def main():
            timer.start()
            return await asyncio.get_running_loop().sock_recv(ours, 9)

        assert clock.run(main()) == b"late"
        timer.join()
    assert clock.now() == 0


def test_a_thread_is_waited_for_before_time_jumps(clock):
    async def main():
        async with asyncio.timeout(3600):
            return await asyncio.to_thread(lambda: time.sleep(0.02) or "done")

    assert clock.run(main()) == "done"
    assert clock.now() == 0


def test_steps_are_counted_and_can_be_acted_on(clock):
    seen = []

    async def main():
        task = asyncio.current_task()
        clock.at_step(clock.steps + 3, lambda: seen.append(clock.steps))
        clock.at_step(clock.steps + 5, task.cancel)
        for _ in range(99):
            await asyncio.sleep(1)

    with pytest.raises(asyncio.CancelledError):
        clock.run(main())
    assert seen == [4]
    assert clock.steps >= 6


def test_it_works_in_debug_mode(clock):
    assert clock.run(asyncio.sleep(60, "done"), debug=True) == "done"


def test_it_says_where_it_is(clock):
    clock.run(asyncio.sleep(60))
    assert repr(clock).startswith("<FakeClock at 60 s, step ")


@pytest.mark.parametrize("start", [2.0**24, 2.0**40])
def test_a_timer_is_due_however_late_it_is(start):
    clock = FakeClock(start)

    async def main():
        await asyncio.sleep(0.5)
        return clock.now()

    assert clock.run(asyncio.wait_for(main(), 10)) == start + 0.5
