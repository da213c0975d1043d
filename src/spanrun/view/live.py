"""`Feeds`: one reader of the recordings for all pages that are open.

The files' states say whether anything was written; only then they are read, once,
whoever asks first. Reading takes a small share of a core at the most: a session that
takes long to read is read less often.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from spanrun.slo import Slo
from spanrun.telemetry.recordings import signals
from spanrun.telemetry.recordings.read import Recording, file_of
from spanrun.view.feed import Feed, Limits, Mark, scope_of

PAUSE: Final = 0.5
"""Seconds from one look at the recording to the next: at most two changes a second."""
_SHARE: Final = 0.02
"""Of one core's time, what reading what is new may take."""
_LONGEST: Final = 10.0
"""Seconds between two looks, whatever they take."""
_LEVEL: Final = 1
_MOST: Final = 4  # sessions that are held
_RACY_NS: Final = 1_000_000_000
_State = tuple[tuple[int, int, int] | None, ...]


class Feeds:
    """The feeds of the sessions and runs that were asked for last.

    Args:
        store: The folder or the file of the recordings.
        limits: How much each holds.
        slos: Objectives that each is judged by.
    """

    def __init__(
        self, store: Path, limits: Limits | None = None, slos: Sequence[Slo] = ()
    ) -> None:
        self._store: Final = file_of(store)
        self._limits: Final = limits or Limits()
        self._slos: Final = slos
        self._lock: Final = threading.Lock()
        self._feeds: Final[OrderedDict[str, _Followed]] = OrderedDict()

    def data(self, name: str) -> bytes:
        """All data of the session or run whose id begins with ``name``, deflated.

        Raises:
            LookupError: There is none, or several.
            StoreError: It can't be read.
        """
        with self._lock:
            return self._look(name).body()

    def since(self, name: str, mark: Mark | None) -> dict[str, Any] | None:
        """What is new since ``mark``.

        Returns:
            None if all has to be asked for again, and an empty dict if nothing is new.

        Raises:
            LookupError: There is no such session or run, or there are several.
            StoreError: It can't be read.
        """
        with self._lock:
            feed = self._look(name).feed
            if mark is None:
                return None
            return {} if mark == feed.mark() else feed.since(mark)

    def _look(self, name: str) -> _Followed:
        """The feed, as new as it may be."""
        found = self._feeds.get(name)
        if found is None:
            found = self._feeds[name] = _Followed(
                self._store, name, self._limits, self._slos
            )
        self._feeds.move_to_end(name)
        while len(self._feeds) > _MOST:
            self._feeds.popitem(last=False)
        try:
            found.look()
        except BaseException:
            self._feeds.pop(name, None)
            raise
        return found


class _Followed:
    """A feed, and when the recording was last looked at for it."""

    feed: Feed

    def __init__(
        self, store: Path, name: str, limits: Limits, slos: Sequence[Slo]
    ) -> None:
        with Recording(store) as recording:
            self.feed = Feed(recording, *scope_of(recording, name), limits, slos)
        self._store: Final = store
        self._name: Final = name
        self._limits: Final = limits
        self._slos: Final = slos
        self._state: _State | None = None
        self._next = 0.0
        self._body: tuple[Mark, bytes] | None = None

    def body(self) -> bytes:
        """All of it, packed once a version."""
        mark = self.feed.mark()
        if self._body is None or self._body[0] != mark:
            text = json.dumps(self.feed.data(), separators=(",", ":"), allow_nan=False)
            self._body = mark, zlib.compress(text.encode(), _LEVEL)
        return self._body[1]

    def look(self) -> None:
        """Read what is new, if the files have changed and it is time for it."""
        began = time.monotonic()
        if began < self._next:
            return
        state = _state(self._store)
        if state is None or state != self._state:
            self._read()
        self._state = state
        took = time.monotonic() - began
        self._next = began + min(_LONGEST, max(PAUSE / 2, took / _SHARE))
        self.feed.refresh()

    def _read(self) -> None:
        with Recording(self._store) as recording:
            scope = scope_of(recording, self._name)
            if (scope[0].id, scope[1]) == (self.feed.session.id, ""):
                self.feed.advance(recording)
                if not self.feed.is_over:
                    return
            self.feed = Feed(recording, *scope, self._limits, self._slos)


def _state(store: Path) -> _State | None:
    """What tells whether the files were written; None if that can't be told yet.

    A second write in the same tick of the file system's clock would not be seen.
    """
    found = tuple(_state_of(path) for path in _files(store))
    newest = max((each[2] for each in found if each is not None), default=0)
    return None if time.time_ns() - newest < _RACY_NS else found


def _files(store: Path) -> Iterator[Path]:
    for path in (store, store.with_name(signals.FILE)):
        yield path
        yield Path(f"{path}-wal")


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
