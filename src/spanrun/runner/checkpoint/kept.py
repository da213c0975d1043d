"""`Kept`: a checkpoint, open for one run: what it has, and what the run adds to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, cast

from spanrun.errors import CheckpointError
from spanrun.outcome import Err
from spanrun.runner.checkpoint.checkpoint import Checkpoint
from spanrun.runner.checkpoint.codec import Json
from spanrun.runner.checkpoint.file import CheckpointFile, Earlier, Suspect, explained
from spanrun.runner.checkpoint.identity import Ticket, name_of, source_of, ticket_of
from spanrun.runner.checkpoint.rows import (
    DEAD,
    ByKey,
    ByPlace,
    Row,
    Stored,
    collision,
    value_of,
)
from spanrun.runner.checkpoint.writer import Writer
from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

_CAREFUL: Final = 10_000
"""Jobs after a crash that are noted before they begin: it may have been one of those
that began in the 20 ms before it."""
_AGAIN: Final = "run the same again to go on"
_PATIENCE: Final = 10.0
"""Seconds for the last commit, once nobody wants to wait any more."""


class Owned(Protocol):
    """The run that has it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""
        ...

    def committed(self) -> None:
        """More of it is safe."""
        ...

    def broken(self, error: CheckpointError) -> None:
        """Nothing more of it can be."""
        ...


class Kept:
    """What a run asks of its checkpoint. All on the event loop, but for `Told`.

    Args:
        checkpoint: Which one, and how.
        function: What the run calls.
        run: Its owner.

    Attributes:
        writer: What it is written by.
        running: The items that run, by their places.
        dumps: Writes a result.
        is_new: Nothing was there before.
        careful: Jobs that are still to be noted before they begin.
    """

    def __init__(self, checkpoint: Checkpoint, function: object, run: Owned) -> None:
        self.checkpoint: Final = checkpoint
        self._function: Final = function
        self._run: Final = run
        self._codec: Final[Any] = checkpoint.codec or Json()
        self.dumps: Final[Callable[[Any], Any]] = self._codec.dumps
        kind = cast("Any", type(self._codec))
        about = {
            "function": name_of(function),
            "source": source_of(function),
            "by": "place" if checkpoint.key is None else "key",
            "codec": f"{kind.__module__}.{kind.__qualname__}",
            "command": checkpoint.command,
        }
        self._about: Final = about
        path = Path(checkpoint.path)
        self._file: Final = CheckpointFile(path, checkpoint.durability)
        self.writer: Final = Writer(
            self._file, about, self, each=checkpoint.commit == "each"
        )
        self.running: Final[dict[int, Ticket]] = {}
        self._opened: Final[asyncio.Future[None]] = run.loop.create_future()
        self._closed: Final = asyncio.Event()
        self._process = 0
        self._broken: CheckpointError | None = None
        self._find: Callable[[Ticket], Stored | None] = lambda _: None
        self.careful = 0
        self.is_new = False

    async def open(self) -> None:
        """Have the file opened, and see whether it is of this run.

        Raises:
            CheckpointError: It isn't, or can't be used.
        """
        self._process = os.getpid()
        self.writer.start()
        await self._opened
        file = self._file
        if self._about["by"] == "place":
            with explained(file.path), file.reading:
                self._raise_if_broken()
                by_place = ByPlace(file.reader)
            self._find = lambda ticket: by_place.find(ticket.place)
        else:
            by_key = ByKey(file.reader)
            self._find = lambda ticket: by_key.find(ticket.item)
        if file.crashed:
            self.careful = _CAREFUL
        self.is_new = not (file.stored or file.crashed or file.suspects)

    def compare(self, kept: Mapping[str, str]) -> None:
        """Refuse a file of another run, by what is ``kept`` about it."""
        path, about = self._file.path, self._about
        for what, told in (("function", "is of"), ("codec", "is written by")):
            if kept and kept[what] != about[what]:
                raise CheckpointError(
                    f"{path} {told} {kept[what]}, and this run has {about[what]}: "
                    "name another checkpoint for it"
                )
        if kept and kept["by"] != about["by"]:
            raise CheckpointError(
                f"{path} knows items by their {kept['by']}, and this run by their "
                f"{about['by']}: give Checkpoint the same key=, or another path"
            )
        if kept and kept["source"] and kept["source"] != about["source"]:
            text = "%s is of another version of %s: what is in it isn't run again"
            _log.warning(text, path, about["function"])

    async def close(self) -> None:
        """Have all written and the file closed. A cancellation comes out after that.

        In a child that a job has forked there is nothing to do: the file, and the
        thread that writes it, are the parent's.
        """
        if self._process != os.getpid():
            return
        self.writer.end()
        cancelled: asyncio.CancelledError | None = None
        waiter = self._run.loop.create_task(self._closed.wait())
        while not waiter.done():
            timeout = None if cancelled is None else _PATIENCE
            try:
                await asyncio.wait({waiter}, timeout=timeout)
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                if cancelled is not None and not waiter.done():
                    waiter.cancel()
                    break
        if self._closed.is_set():
            self.writer.join()
        if cancelled is not None:
            raise cancelled.with_traceback(None)

    @property
    def earlier(self) -> Earlier | None:
        """The run that it goes on from."""
        return self._file.earlier

    @property
    def stored(self) -> int:
        """Results that were there at the beginning."""
        return self._file.succeeded

    @property
    def safe(self) -> str:
        """What would be left after a kill, and what goes on from there."""
        results = self._file.succeeded + self.writer.succeeded
        count = f"{results:,} result{'s'[: results != 1]} safe in {self._file.path}"
        command = self.checkpoint.command
        return f"{count}; {f'go on with {command}' if command else _AGAIN}"

    def began(self, run: str, trace_id: int, span_id: int) -> None:
        """Note which run this is."""
        trace = f"{trace_id:032x}" if trace_id else ""
        self.writer.began(run, trace, f"{span_id:016x}" if span_id else "")

    def look(self, place: int, item: Any) -> tuple[Ticket, Stored | None]:
        """What ``item`` is known by, and its outcome in the file, if it has one.

        Raises:
            CheckpointError: What is there is of another item, or can't be read.
            ConfigurationError: The user's key can't be used.
        """
        ticket = ticket_of(place, item, self.checkpoint.key)
        if not self._file.stored:
            return ticket, None
        with explained(self._file.path), self._file.reading:
            self._raise_if_broken()
            stored = self._find(ticket)
        if stored is None:
            return ticket, None
        if ticket.digest != stored.digest:
            raise CheckpointError(
                f"item {place} isn't the one that {self._file.path} has there: give it "
                "the same input, with more at its end at most, or Checkpoint(key=…)"
            )
        if ticket.key is not None and stored.run == self._file.run:
            raise collision(ticket.key)
        if not self.is_final(stored):
            return ticket._replace(attempts=stored.attempts), stored
        if ticket.key is not None:
            self.writer.mark(ticket.key)
        return ticket, stored

    def is_final(self, stored: Stored) -> bool:
        """Whether ``stored`` is handed out, and its job not run again."""
        if stored.outcome == DEAD:
            return self.checkpoint.max_crashes is not None
        keeps = self.checkpoint.failed == "keep" and stored.outcome != "cancelled"
        return keeps or stored.outcome == "ok"

    @property
    def suspects(self) -> Mapping[str | int, Suspect]:
        """What was in flight when the process died, by what it is known by."""
        return self._file.suspects

    def is_dead(self, suspect: Suspect) -> bool:
        """Whether it killed the process too often."""
        most = self.checkpoint.max_crashes
        return most is not None and suspect.alone >= most

    def begin(self, tickets: Sequence[Ticket]) -> None:
        """They run from now on."""
        for ticket in tickets:
            self.running[ticket.place] = ticket

    def forget(self, tickets: Sequence[Ticket]) -> None:
        """They don't run, after all."""
        for ticket in tickets:
            self.running.pop(ticket.place, None)

    def note(
        self, tickets: Sequence[Ticket], done: Callable[[], None], *, alone: bool
    ) -> None:
        """Write that they run, and call ``done``; ``alone``: nothing else does."""
        self.begin(tickets)
        items = frozenset(ticket.item for ticket in tickets) if alone else ()
        self.writer.note(items, done)

    def refused(self, value: Any, error: Exception) -> CheckpointError:
        """The error for a result that the codec can't write, because of ``error``."""
        refused = CheckpointError(
            f"the result, a {type(value).__qualname__}, can't be kept in a checkpoint, "
            f"{error}: give Checkpoint(codec=…)",
            reason="codec",
        )
        refused.__cause__ = error
        return refused

    def decode(self, stored: Stored) -> Any:
        """The result that was kept.

        Raises:
            CheckpointError: The codec can't read it.
        """
        try:
            return self._codec.loads(stored.value)
        except Exception as error:
            raise CheckpointError(
                f"a result in {self._file.path} can't be read, {error}: give the "
                "Checkpoint(codec=…) that wrote it",
                reason="codec",
            ) from error

    def succeeded(self, place: int, data: Any, attempts: int, trace_id: int) -> None:
        """Keep the result of the job at ``place``."""
        ticket = self.running.pop(place, None)
        if ticket is None:
            return
        if self.suspects or ticket[1] is not None:
            self._add(ticket, "ok", attempts, trace_id, data)
            return
        # As `_add` does it, for the usual ones.
        _, _, digest, before = ticket
        trace = trace_id.to_bytes(16) if trace_id else None
        attempts += before
        self.writer.add(
            (place, None, self._file.run, digest, "ok", attempts, trace, data)
        )

    def failed(self, place: int, failed: Err, outcome: str | None = None) -> None:
        """Keep the error of the job at ``place``."""
        ticket = self.running.pop(place, None)
        if ticket is not None:
            told = outcome or failed.outcome
            value = value_of(failed)
            self._add(ticket, told, failed.attempts, failed.trace_id, value)

    def _add(
        self, ticket: Ticket, outcome: str, attempts: int, trace_id: int, value: Any
    ) -> None:
        place, key, digest, before = ticket
        row: Row = (
            place if key is None else None,
            key,
            self._file.run,
            digest,
            outcome,
            attempts + before,
            trace_id.to_bytes(16) if trace_id else None,
            value,
        )
        suspects = self._file.suspects
        suspect = None
        if suspects and suspects.pop(ticket.item, None) is not None:
            suspect = ticket.item
        self.writer.add(row, suspect)

    def in_flight(self) -> Collection[str | int]:
        """What runs at this moment; as the other methods of `Told`, in its thread."""
        return [ticket.item for ticket in list(self.running.values())]

    def opened(self, error: Exception | None) -> None:
        """The file is open, or can't be used."""
        future = self._opened

        def tell() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._soon(tell)

    def committed(self, notes: Sequence[Callable[[], None]]) -> None:
        """What was added is safe."""
        for note in notes:
            self._soon(note)
        self._soon(self._run.committed)

    def broken(self, error: CheckpointError) -> None:
        """Nothing more is written, nor read: the file is closed after this."""
        self._broken = error
        self._soon(self._run.broken, error)

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    def closed(self) -> None:
        """The thread is at its end."""
        self._soon(self._closed.set)

    def _soon(self, tell: Callable[..., object], *values: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._run.loop.call_soon_threadsafe(tell, *values)
