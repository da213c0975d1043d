"""`Keys`: what is typed at a terminal, key by key."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Any, Final, Self

_SEQUENCE: Final = ("\x1b[", "\x1bO")
ESCAPE: Final = "\x1b"
END: Final = "\x04"
"""What is typed when nobody is there any more, as Ctrl-D is."""


class Keys:
    """Reads keys without Enter, and shows none, in a ``with`` block.

    Where standard input is no terminal, or the system has none, nothing is typed.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        with contextlib.suppress(ImportError, OSError, ValueError):  # Windows; closed
            import termios  # noqa: PLC0415 -- not everywhere
            import tty  # noqa: PLC0415 -- the same

            if sys.stdin.isatty():
                file = sys.stdin.fileno()
                self._before = termios.tcgetattr(file)
                tty.setcbreak(file)
                self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None:
            return
        import termios  # noqa: PLC0415 -- it was there

        with contextlib.suppress(OSError, termios.error):  # the terminal is gone
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def wait(self, timeout: float) -> list[str]:
        """The keys that are typed next, or none when ``timeout`` is over."""
        if self._file is None:
            time.sleep(timeout)
            return []
        ready, _, _ = select.select([self._file], [], [], timeout)
        if not ready:
            return []
        try:
            typed = os.read(self._file, 1024).decode(errors="replace")
        except OSError:
            typed = ""
        if not typed:
            return [END]
        # An arrow and its like: they mean nothing here.
        return [] if typed.startswith(_SEQUENCE) else list(typed)
