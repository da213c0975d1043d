"""Standard output and standard error, whatever has become of them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

from spanrun.text import inert, one_line, redact


def prepare() -> None:
    """Make both streams usable: open, and able to write any character.

    Whoever started us may have closed them. Then the next file to be opened
    would get a standard stream's number, and the text meant for that stream.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 -- stderr's
        pass
    os.close(free)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 -- as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Write ``text``, inert, to standard error. No result depends on that."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{inert(text)}\n")
        sys.stderr.flush()


def give(text: str) -> None:
    """Write a result, inert, to standard output.

    Whoever reads it may close it early, as ``head`` does: it has read enough.

    Raises:
        OSError: It can't be written: the device is full.
    """
    try:
        sys.stdout.write(f"{inert(text)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def release() -> None:
    """Let go of what the streams can't write: Python would report it once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _forget(stream)


def line(text: str, width: int = 0) -> str:
    """``text`` without secrets, inert, on one line, of ``width`` characters or any."""
    return one_line(redact(text), width)


def _forget(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
