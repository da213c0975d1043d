"""`Line`: who waits for a slot or a token, and who is next."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Final, TypeAlias

_Place: TypeAlias = tuple[float, int, asyncio.Future[None], float]


class Line:
    """Serves by priority, the higher first, and by arrival inside a priority.

    Nobody starves: each ``ageing`` seconds of waiting weigh as much as one step
    of priority. Who was cancelled is passed over, and forgotten soon.

    Attributes:
        places: Empty when nobody waits. It may hold some that were cancelled.
    """

    def __init__(self, ageing: float) -> None:
        self.places: Final[list[_Place]] = []
        self._ageing: Final = ageing
        self._order: Final = itertools.count()
        self._left = 0

    def __len__(self) -> int:
        """How many wait."""
        return sum(not place[2].done() for place in self.places)

    def age(self, now: float) -> float:
        """Seconds that the one has waited who waits longest; from any thread."""
        waits = (now - place[3] for place in tuple(self.places) if not place[2].done())
        return max(waits, default=0.0)

    def join(self, priority: float, now: float) -> asyncio.Future[None]:
        """A new place in the line. Its future is done when its turn has come."""
        waiter = asyncio.get_running_loop().create_future()
        rank = now - priority * self._ageing
        heapq.heappush(self.places, (rank, next(self._order), waiter, now))
        return waiter

    def first(self) -> bool:
        """Whether anybody waits. Those who were cancelled leave the head."""
        places = self.places
        while places and places[0][2].done():
            heapq.heappop(places)
        return bool(places)

    def serve(self) -> None:
        """It is the turn of who stands first, so `first` must have said yes."""
        heapq.heappop(self.places)[2].set_result(None)

    def leave(self) -> None:
        """One was cancelled. Their places are cleared when they are the most."""
        self._left += 1
        places = self.places
        if self._left * 2 > len(places):
            places[:] = [place for place in places if not place[2].done()]
            heapq.heapify(places)
            self._left = 0
