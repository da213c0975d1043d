"""`SpooledSender`: at once when the receiver answers, else by way of the disk.

One thread sends. A second one guards the promise that no item older than a second
is in memory only: it writes what ``linger`` seconds did not see delivered, also
while the first hangs in a request, and cuts a request that takes too long.

A receiver that is up acknowledges within milliseconds. So nothing is written
then, which saves 66 µs per 100 kB (39 for the write, 27 for the CRC: 0.1 µs a
span), and a disk that is slow or full changes nothing while the receiver is up.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from spanrun.telemetry.backoff import Backoff
from spanrun.telemetry.books import Books, SignalStatus, SpoolStatus, Tally
from spanrun.telemetry.forks import in_child
from spanrun.telemetry.fresh import Fresh
from spanrun.telemetry.frames import MAX_PAYLOAD, Frame, Signal
from spanrun.telemetry.parcel import Parcel
from spanrun.telemetry.send import Outcome, Sender
from spanrun.telemetry.spool import Spool

_log = logging.getLogger(__name__)

Watch = Callable[[Signal, float, Outcome], None]

_SMALL: Final = 16 * 1024  # below this, size isn't what a receiver minds
_DISK_AGAIN: Final = 1.0  # seconds until a disk that failed is tried again
_GRACE: Final = 0.5  # seconds that a request may take over its timeout


class SpooledSender:
    """Takes encoded requests from any thread, and delivers each at least once.

    Args:
        folder: Of the spool. See `Spool`.
        senders: One for each signal that is handed over.
        tally: Told what became of the items.
        max_bytes: That the spool may hold on disk.
        memory_bytes: That may wait in memory: all there is without a disk.
        request_bytes: Of a request that is put together from several.
        linger: Seconds after which what wasn't delivered is on disk.
        adopt_every: Seconds between two looks for what dead processes left.
        cumulative: Whether each metrics request supersedes the one before it.
        backoff: Makes the back-off of a signal.
        watch: Told of each request: signal, seconds, outcome.
    """

    def __init__(
        self,
        folder: Path,
        senders: Mapping[Signal, Sender],
        tally: Tally,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        memory_bytes: int = 16 * 1024 * 1024,
        request_bytes: int = 1024 * 1024,
        linger: float = 0.25,
        adopt_every: float = 10.0,
        cumulative: bool = True,
        backoff: Callable[[], Backoff] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._senders: Final = dict(senders)
        self._books: Final = Books(tally)
        lost = self._books.drop
        self._spool: Final = Spool(
            folder, lost, max_bytes=max_bytes, cumulative=cumulative
        )
        self._fresh: Final = Fresh(memory_bytes, lost)
        self._memory_bytes: Final = memory_bytes
        self._request_bytes: Final = request_bytes
        self._linger: Final = linger
        self._adopt_every: Final = adopt_every
        self._make_backoff: Final = backoff or _backoff
        self._watch: Final = watch
        self._reset()
        in_child(weakref.WeakMethod(self._after_fork))
        self._start()
