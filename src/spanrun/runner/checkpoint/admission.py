"""`Admission`: after a crash, which jobs begin when, so that the culprit is found.

What was in flight when the process died is suspected. A suspect runs alone: it begins
when nothing else runs, once the file says so, and nothing else begins until it has
ended. A process that dies then was killed by it, or by somebody outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from spanrun.runner.checkpoint.identity import Ticket
from spanrun.runner.checkpoint.kept import Kept


class Unit(NamedTuple):
    """What begins together: an item or, where they are batched, some.

    Attributes:
        tickets: Of the items.
        start: Makes the job.
        alone: They are suspects.
    """

    tickets: Sequence[Ticket]
    start: Callable[[], object]
    alone: bool


class Admitting(Protocol):
    """The run whose jobs these are."""

    @property
    def closing(self) -> bool:
        """No more jobs are admitted."""
        ...

    def __len__(self) -> int:
        """How many jobs are active."""
        ...

    def refill(self) -> None:
        """Admit what there is room for now."""
        ...

    def settle(self) -> None:
        """Wake who waits for the end, if this is it."""
        ...

    def broken(self, error: BaseException) -> None:
        """End by ``error``."""
        ...


class Admission:
    """Starts each `Unit` at once or, after a crash, once the file says that it runs.

    Attributes:
        is_open: All may start at once.
    """

    def __init__(self, run: Admitting, kept: Kept) -> None:
        self._run: Final = run
        self._kept: Final = kept
        self.is_open = True
        self._held: Final[deque[Unit]] = deque()
        self._noted: list[Unit] = []
        self._alone = False

    @property
    def waits(self) -> bool:
        """Whether something has yet to begin."""
        return bool(self._held or self._noted)

    @property
    def is_shut(self) -> bool:
        """Whether nothing more is to come for now."""
        return self.waits or (self._alone and len(self._run) > 0)

    def offer(self, unit: Unit) -> None:
        """Start it, now or later."""
        kept = self._kept
        if unit.alone or kept.careful or self.is_shut:
            kept.careful = max(0, kept.careful - 1)
            self.is_open = False
            self._held.append(unit)
            self.go_on()
            return
        self._alone = False
        self.is_open = not kept.careful and not kept.suspects
        kept.begin(unit.tickets)
        unit.start()

    def go_on(self) -> None:
        """Have the next ones written down, if they may begin."""
        held = self._held
        if self._noted or not held:
            return
        alone = held[0].alone
        if len(self._run) and (alone or self._alone):
            return
        while held and held[0].alone == alone and not (alone and self._noted):
            self._noted.append(held.popleft())
        self._alone = alone
        tickets = [ticket for unit in self._noted for ticket in unit.tickets]
        self._kept.note(tickets, self._start, alone=alone)

    def _start(self) -> None:
        """They are written down."""
        noted, self._noted = self._noted, []
        try:
            for unit in noted:
                if not self._run.closing:
                    unit.start()
                else:
                    self._kept.forget(unit.tickets)
        except BaseException as error:  # noqa: BLE001 -- raised by who waits
            self._run.broken(error)
        self._run.refill()
        self._run.settle()

    def drop(self) -> bool:
        """Start none of those that wait; whether there were any."""
        waited = self.waits
        self._held.clear()
        for unit in self._noted:
            self._kept.forget(unit.tickets)
        self._noted.clear()
        return waited
