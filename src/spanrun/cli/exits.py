"""How a command ends: the exit codes, and what a person is told with them."""

from __future__ import annotations

import enum
import errno
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, NoReturn

import httpx

from spanrun.cli import console
from spanrun.errors import (
    CheckpointError,
    ConfigurationError,
    DeadlineExceeded,
    ServiceError,
    StoreError,
)
from spanrun.runner import terminated


class Exit(enum.IntEnum):
    """The exit codes, one table for all commands; from 64 on those of sysexits.h."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    INPUT = 65
    UNREACHABLE = 69
    FAULT = 70
    DISK = 74
    LOCKED = 75
    CONFIGURATION = 78
    BROKEN = 99
    INTERRUPTED = 130
    TERMINATED = terminated.STATUS

    @property
    def meaning(self) -> str:
        """What it says, in one line."""
        return _MEANINGS[self]


_MEANINGS: Final[Mapping[Exit, str]] = {
    Exit.OK: "all that was asked for is done",
    Exit.SOME_FAILED: "some of it could not be done, or has faults; everything else is",
    Exit.USAGE: "the command can't be understood: an option, an argument",
    Exit.INPUT: "there is nothing to work on: no readable document, nothing ingested, "
    "not the input of the checkpoint",
    Exit.UNREACHABLE: "a service can't be reached, or doesn't answer as it should",
    Exit.FAULT: "a fault in spanrun itself; its traceback is shown",
    Exit.DISK: "something can't be read or written: rights, room, a damaged file",
    Exit.LOCKED: "a checkpoint is in use by another run",
    Exit.CONFIGURATION: "a setting can't work: a URL, a key, a model, a missing extra",
    Exit.BROKEN: "an objective or a threshold is broken: more was bad than may be",
    Exit.INTERRUPTED: "Ctrl-C; what was stored is whole",
    Exit.TERMINATED: "SIGTERM; what ran had 10 s, and what was stored is whole",
}


class Told(NamedTuple):
    """What happened, with which value, and what to do about it."""

    code: Exit
    what: str
    to_do: str


_OF_CHECKPOINTS: Final = {"locked": Exit.LOCKED, "disk": Exit.DISK}
AGAIN: Final = "Run the same command again: it does only what is missing."
_FIX_URL: Final = "Check --embeddings-url, as http://host/v1, and --model."
_FIX_TEXT: Final = "Leave that text out, or check --model."
_FIX_SERVICE: Final = (
    "Check that it works and that --embeddings-url is right, then run this again."
)
_FIX_DISK: Final = "Check its rights and the disk's free room, or name another --store."
_NO_ENTRY: Final = (401, 403)
_ITS_OWN_FAULT: Final = (408, 425, 429)
_OF_DISKS: Final = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
)
_WIDTH: Final = 300


def fail(code: Exit, what: str, to_do: str) -> NoReturn:
    """Say what happened and, on its own line, what to do; then exit."""
    console.say(
        f"spanrun: {console.line(what, _WIDTH)}\n  {console.line(to_do, _WIDTH)}"
    )
    sys.exit(code)


@contextmanager
def explained() -> Generator[None]:
    """Turn what can be foreseen into two lines and an exit code."""
    try:
        yield
    except SystemExit as error:
        # One of `Exit` was told already.
        if error.code == Exit.TERMINATED and not isinstance(error.code, Exit):
            fail(Exit.TERMINATED, "terminated; what was stored is whole", AGAIN)
        raise
    except (Exception, KeyboardInterrupt) as error:
        told = explain(error)
        if told is None:
            raise
        fail(*told)


def explain(error: BaseException) -> Told | None:
    """What to tell of ``error``; None where it can't be foreseen: that is a fault."""
    told: Told | None = None
    match error:
        case KeyboardInterrupt():
            told = Told(
                Exit.INTERRUPTED, "interrupted; what was stored is whole", AGAIN
            )
        case CheckpointError():
            code = _OF_CHECKPOINTS.get(error.reason, Exit.INPUT)
            told = Told(code, *_halves(error))
        case StoreError():
            told = Told(Exit.DISK, *_halves(error))
        case ServiceError():
            told = _service(error)
        case ConfigurationError():
            told = Told(Exit.CONFIGURATION, *_halves(error))
        case DeadlineExceeded():
            what = f"the endpoint did not answer within {error.seconds:g} s"
            told = Told(Exit.UNREACHABLE, what, _FIX_SERVICE)
        case OSError() if error.errno in _OF_DISKS:
            name = f"{error.filename}: " if error.filename else ""
            told = Told(Exit.DISK, f"{name}{error.strerror}", _FIX_DISK)
        case _:
            pass
    return told


def _service(error: ServiceError) -> Told:
    if isinstance(error.__cause__, httpx.TransportError):
        return Told(Exit.UNREACHABLE, str(error), _FIX_SERVICE)
    status = error.status or 0
    if status in _NO_ENTRY:
        to_do = "Set EMBEDDING_KEY to a key that it accepts."
        return Told(Exit.CONFIGURATION, str(error), to_do)
    if error.blames_request:
        return Told(Exit.CONFIGURATION, str(error), _FIX_TEXT)
    if 300 <= status < 500 and status not in _ITS_OWN_FAULT:  # noqa: PLR2004 -- 3xx, 4xx
        return Told(Exit.CONFIGURATION, str(error), _FIX_URL)
    if status >= 400:  # noqa: PLR2004 -- an error
        to_do = f"It is overloaded, or broken. {AGAIN}"
        return Told(Exit.UNREACHABLE, str(error), to_do)
    return Told(Exit.UNREACHABLE, str(error), _FIX_URL)


def halves(error: Exception) -> tuple[str, str]:
    """What happened, and what to do, which is empty where the message doesn't say it.

    Our messages end with what to do, after the last colon.
    """
    message = str(error.args[0]) if error.args else ""
    what, colon, to_do = message.rpartition(": ")
    if not colon:
        return to_do, ""
    is_command = to_do.startswith("pip ")
    return what, to_do if is_command else f"{to_do[:1].upper()}{to_do[1:]}."


def _halves(error: Exception) -> tuple[str, str]:
    what, to_do = halves(error)
    return what, to_do.removesuffix(".") or _FIX_DISK
