"""What a piece of work costs, in rounds of an empty loop: the same on any machine."""

import gc
import time
from collections.abc import Callable
from typing import Final

_ROUNDS: Final = 100_000


def rounds(work: Callable[[], object], tries: int = 5) -> float:
    """The CPU time of ``work``, in that of one round of ``for _ in range(n): pass``.

    One takes some 20 ns. Both are the least of several tries, without the garbage
    collector, and other programs' time doesn't count.
    """
    return _least(work, tries) / _least(_loop, 5) * _ROUNDS


def _loop() -> None:
    for _ in range(_ROUNDS):
        pass


def _least(work: Callable[[], object], tries: int) -> float:
    costs: list[float] = []
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(tries):
            started = time.process_time()
            work()
            costs.append(time.process_time() - started)
    finally:
        if collects:
            gc.enable()
    return min(costs)
