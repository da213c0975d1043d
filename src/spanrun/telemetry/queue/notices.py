"""`Notices`: what is wrong with files in the spool, each said once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

_REMEMBERED: Final = 1000
_AT_ONCE: Final = 5


class Notices:
    """Collects what is to be said, and says it when no lock is held."""

    def __init__(self) -> None:
        self._known: Final[set[tuple[Path, str]]] = set()
        self._new: list[tuple[Path, str]] = []
        self._lock = threading.Lock()

    def note(self, path: Path, what: str) -> None:
        """Say ``what`` about ``path`` at the next `say`, unless that was said."""
        with self._lock:
            if (path, what) not in self._known and len(self._known) < _REMEMBERED:
                self._known.add((path, what))
                self._new.append((path, what))

    def say(self) -> None:
        """Log what is new: some of it in full, and how much more there is."""
        with self._lock:
            new = self._new
            self._new = []
        for path, what in new[:_AT_ONCE]:
            _log.warning("spool: '%s': %s", path, what)
        if len(new) > _AT_ONCE:
            _log.warning("spool: the same of %d more files", len(new) - _AT_ONCE)

    def after_fork(self) -> None:
        """In the child: the parent says what it found."""
        self._lock = threading.Lock()
        self._new = []
