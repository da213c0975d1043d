"""`Dispatcher`: which jobs go to which worker, and once more if that is lost.

A worker has as many jobs as may run there at once, and those that it would end in the
next tenth of a second, so that it never waits for more. Their number follows from how
many it has just ended: of long jobs hardly any waits in one worker while another one is
idle, of short ones thousands are sent together.

What a lost worker had is sent once more, except for what has its outcome. One of these
jobs may have killed it: so they go to a worker that has nothing else, all together at
first, and by halves each time it dies. A job that was alone with three workers that
died has failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from spanrun.errors import RemoteJobError
from spanrun.outcome import CancelledBy
from spanrun.runner.balance import Balance
from spanrun.runner.cancelled import Cancellations
from spanrun.runner.dispatched import (
    CHUNK_BYTES,
    MOST_AHEAD,
    Pending,
    Sender,
    Sent,
    Worker,
    no_worker,
    parts,
)
from spanrun.runner.engine import Chunk, Item, Pool, Report, RunSpec, WorkerLost
from spanrun.runner.job import Job
from spanrun.runner.leases import Leases
from spanrun.runner.tasks import FIRST_STEP, start
from spanrun.telemetry.log import Log, Seldom

_log: Final = Log(__name__)

MOST_LOSSES: Final = 3
"""Workers that one job may cost."""
_STARTS: Final = 3
"""Workers in a row that may die before they can take jobs."""
_LONGEST: Final = 30.0
"""Seconds, at most, until one is started after these."""
_PAUSE: Final = 10.0
"""Seconds from one line of the log about lost workers to the next."""


class Dispatcher:
    """Gives jobs to workers. All on the event loop.

    Args:
        pool: The workers.
        shares: How many jobs may run at once in each.
        chunk: The most jobs in a chunk; None: as many as is good.
        leases: What workers ask for.
        lends: Slots of a worker may be lent to another one.
        now: Reads the clock.
        cancels: By what tasks are cancelled.
        runner: The runner's name.
        resized: Told how many jobs there may be in all, when that changes.
        retried: Told of retries: the type of the error, and how many.
    """

    def __init__(
        self,
        pool: Pool,
        shares: Sequence[int],
        chunk: int | None,
        *,
        leases: Leases,
        lends: bool,
        now: Callable[[], float],
        cancels: Cancellations,
        runner: str,
        resized: Callable[[int], None],
        retried: Callable[[str, int], None],
    ) -> None:
        self._pool: Final = pool
        self._workers: Final = [
            Worker(place, share, share) for place, share in enumerate(shares)
        ]
        self._balance: Final = (
            Balance(self._workers, pool.say, self._slowed, now) if lends else None
        )
        self._leases: Final = leases
        self._most: Final = chunk or MOST_AHEAD
        self._now: Final = now
        self._cancels: Final = cancels
        self._runner: Final = runner
        self._resized: Final = resized
        self._retried: Final = retried
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: deque[Pending] = deque()
        self._suspects: deque[list[Pending]] = deque()
        self._sent: Final[dict[asyncio.Task[None], Sent]] = {}
        self._starting: Final[set[asyncio.Task[None]]] = set()
        self._chunks = 0
        self._is_ranked = self._is_due = self._is_closed = False
        self._seldom: Final = Seldom(_PAUSE, now)

    @property
    def waiting(self) -> int:
        """How many jobs no worker has."""
        return len(self._waiting) + sum(map(len, tuple(self._suspects)))

    def instance_of(self, place: int) -> str:
        """The id of the worker of a place."""
        return self._workers[place].instance

    @property
    def window(self) -> int:
        """How many jobs there may be in all: no more would be of use."""
        return sum((each.share or each.due) + each.ahead for each in self._workers)

    async def open(self) -> None:
        """Start the workers.

        Raises:
            ConfigurationError: They can't work with what they are given.
            RemoteJobError: One ended at once.
        """
        starts = [self._loop.create_task(self._start(each)) for each in self._workers]
        try:
            await asyncio.gather(*starts)
        except BaseException as error:
            for each in starts:
                each.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self._pool.close()
            if isinstance(error, WorkerLost):
                raise no_worker(error) from error
            raise
        self._resized(self.window)

    async def _start(self, worker: Worker) -> None:
        self._leases.begin(worker.place)
        worker.instance = await self._pool.start(worker.place)
        if self._balance is not None:
            self._balance.begin(worker)
        worker.up = True
        worker.since = self._now()

    async def close(self) -> None:
        """End the workers. No run is open any more."""
        self._is_closed = True
        if self._balance is not None:
            self._balance.close()
        starting = tuple(self._starting)
        for each in starting:
            each.cancel()
        if starting:
            await asyncio.wait(starting)
        self._leases.close()
        await self._pool.close()
        if self._sent:
            await asyncio.wait(self._sent)

    def add(self, run: Sender, job: Job) -> None:
        """Have ``job`` run somewhere, soon: others may come, to be sent with it."""
        self._waiting.append(Pending(run, job))
        self._is_ranked = self._is_ranked or bool(job.priority)
        self._soon()

    def forget(self, run: RunSpec) -> None:
        """The run is over."""
        self._pool.forget(run.id)

    def stop(self, run: Sender, by: CancelledBy) -> None:
        """Cancel the jobs of ``run``, wherever they are."""
        left = [each for each in self._waiting if each.run is run]
        self._waiting = deque(each for each in self._waiting if each.run is not run)
        for group in tuple(self._suspects):
            if group and group[0].run is run:
                self._suspects.remove(group)
                left += group
        # Not in here: this may be called where the run concludes another job.
        self._loop.call_soon(self._cancelled, left)
        for task, sent in tuple(self._sent.items()):
            if sent.run is run and sent.pending:
                sent.chunk.cancelled_by = by
                first = next(iter(sent.pending.values()))
                give_up = self._giving_up(sent, by)
                self._cancels.cancel(task, first.job, by, abandon=give_up, ends=True)

    def _cancelled(self, pending: Sequence[Pending]) -> None:
        for each in pending:
            each.run.done(each.job, None, asyncio.CancelledError())

    def _giving_up(self, sent: Sent, by: CancelledBy) -> Callable[[], None]:
        def give_up() -> None:
            left = list(sent.pending.values())
            sent.pending.clear()
            for each in left:
                each.run.abandon(each.job, by)

        return give_up

    def _soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._assign)

    def _assign(self) -> None:
        """Send what there is room for."""
        self._is_due = False
        if self._balance is not None:
            self._balance.set(len(self._waiting))
        for worker in self._workers:
            if self._suspects and worker.up and not worker.load:
                self._send(worker, self._suspects.popleft(), alone=True)
        if self._is_ranked:
            ranked = sorted(self._waiting, key=lambda each: -each.job.priority)
            self._waiting = deque(ranked)
        if self._is_ranked or any(each.needs for each in self._workers):
            while self._waiting and (free := [w for w in self._workers if w.room > 0]):
                for worker, part in parts(len(self._waiting), free):
                    if count := min(part, len(self._waiting), self._most):
                        self._send(worker, self._next(count), alone=False)
        if self._balance is not None:
            self._balance.set(len(self._waiting))

    def _slowed(self) -> None:
        """Some jobs take longer than those before them: others may borrow, or lend."""
        self._resized(self.window)
        self._soon()

    def _next(self, count: int) -> list[Pending]:
        """Take up to ``count`` jobs of one run."""
        waiting, taken = self._waiting, [self._waiting.popleft()]
        while len(taken) < count and waiting and waiting[0].run is taken[0].run:
            taken.append(waiting.popleft())
        return taken

    def _send(self, worker: Worker, pending: list[Pending], *, alone: bool) -> None:
        """Send ``pending`` to ``worker``; what is too much for a chunk is put back."""
        run = pending[0].run
        items: list[Item] = []
        sent_now: dict[int, Pending] = {}
        size = 0
        for place, each in enumerate(pending):
            if size >= CHUNK_BYTES:
                rest = pending[place:]
                if alone:
                    self._suspects.appendleft(rest)
                else:
                    self._waiting.extendleft(reversed(rest))
                break
            try:
                item = run.item_of(each.job)
            except Exception as error:  # noqa: BLE001 -- the job's own
                run.done(each.job, None, error)
                continue
            items.append(item)
            sent_now[each.job.index] = each
            size += len(item.payload)
        if not items:
            self._soon()
            return
        if not worker.load:
            worker.since = self._now()
        worker.load += len(items)
        worker.bytes += size
        worker.alone = alone
        index = self._chunks
        self._chunks = index + 1
        unit = run.open_chunk(index, len(items), worker.instance)
        chunk = Chunk(index, run.spec.id, items, run.carrier_in(unit))
        sent = Sent(worker, run, chunk, sent_now, alone, len(items), unit, size)
        task = start(self._loop, self._deliver(sent), f"spanrun chunk {index}")
        self._sent[task] = sent

    async def _deliver(self, sent: Sent) -> None:
        """Be the task of a chunk, until it has all its outcomes or is lost."""
        lost: WorkerLost | None = None
        try:
            await FIRST_STEP
            await self._pool.send(
                sent.worker.place,
                sent.run.spec,
                sent.chunk,
                lambda report: self._take(sent, report),
            )
        except WorkerLost as error:
            lost = error
        except asyncio.CancelledError as error:
            # It was us, and each job has been told: the task has nothing more to do.
            _ = error
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._sent.pop(task, None)
            self._over(sent, lost)

    def _take(self, sent: Sent, report: Report) -> None:
        """Some outcomes have come."""
        worker, ended = sent.worker, len(report.done)
        worker.load -= ended
        sent.left -= ended
        self._leases.ended(ended)
        for done in report.done:
            pending = sent.pending.pop(done.place, None)
            if pending is not None:
                sent.run.returned(pending.job, done)
        for error_type, count in report.retried.items():
            self._retried(error_type, count)
        before = self.window
        if self._balance is None:
            worker.share = report.limit
        worker.measure(ended, self._now())
        if self.window != before:
            self._resized(self.window)
        self._soon()

    def _over(self, sent: Sent, lost: WorkerLost | None) -> None:
        """The chunk has all its outcomes, or its worker none any more."""
        worker = sent.worker
        left = list(sent.pending.values())
        worker.bytes -= sent.size
        worker.load = 0 if lost else worker.load - sent.left
        if not worker.load:
            worker.alone = False
        if sent.unit is not None:
            sent.unit.finish(lost)
        if lost is not None and worker.up and not self._is_closed:
            worker.up = False
            self._replace(worker, lost, len(left))
        if left:
            self._again(sent, left, lost)
        self._soon()

    def _again(self, sent: Sent, left: list[Pending], lost: WorkerLost | None) -> None:
        """``left`` have no outcome: run them once more, unless they were cancelled."""
        if lost is None or left[0].job.cancelled_by is not None:
            self._cancelled(left)
        elif not sent.alone:
            self._suspects.append(left)
        elif len(left) > 1:
            middle = len(left) // 2
            self._suspects.extend((left[:middle], left[middle:]))
        else:
            (only,) = left
            only.losses += 1
            if only.losses < MOST_LOSSES:
                self._suspects.append(left)
                return
            text = (
                f"{MOST_LOSSES} workers were lost while they had nothing but this job, "
                f"the last one as {lost}"
            )
            error = RemoteJobError(WorkerLost.__qualname__, text)
            only.run.done(only.job, None, error)

    def _replace(self, worker: Worker, lost: WorkerLost, jobs: int) -> None:
        more = self._seldom()
        if more is not None:
            _log.warning(
                "a worker of runner %r is lost, %s: another one takes its place, and "
                "%d jobs that it had are run again%s",
                *(self._runner, lost, jobs, more),
            )
        task = self._loop.create_task(self._restart(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _restart(self, worker: Worker) -> None:
        worker.fails = 0
        while not worker.up:
            try:
                await self._start(worker)
            except Exception as error:  # noqa: BLE001 -- said below
                worker.fails += 1
                if worker.fails >= _STARTS:
                    self._not_started(worker, error)
                    await asyncio.sleep(min(_LONGEST, 2 ** (worker.fails - _STARTS)))
        self._soon()

    def _not_started(self, worker: Worker, error: Exception) -> None:
        """It is tried again, and meanwhile nothing can run if there is no other."""
        if worker.fails == _STARTS:
            what = "a worker of runner %r can't be started"
            _log.error(what, self._runner, error=error)
        if not any(each.up or each.fails < _STARTS for each in self._workers):
            runs = {id(each.run): each.run for each in self._all_pending()}
            for run in runs.values():
                run.broken(no_worker(error))

    def _all_pending(self) -> list[Pending]:
        sent = (each.pending.values() for each in self._sent.values())
        return [*self._waiting, *chain(*self._suspects), *chain(*sent)]
