"""Start one server on free loopback ports, wait until it answers, and stop it."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from instrumentation.backends.leash import Leash, tail

LOOPBACK = "127.0.0.1"

_READY_WITHIN = 60.0
_ATTEMPTS = 3
_TAIL = 25


class ServerError(Exception):
    """A server died or didn't get ready; the message holds the end of its log."""


class _PortTakenError(ServerError):
    """Another process was faster at one of the ports."""


@dataclass(frozen=True)
class Plan:
    """How to start a server, and where it answers 200 when it is ready."""

    argv: Sequence[str]
    ready_port: int
    ready_path: str


@dataclass(frozen=True)
class Running:
    """A server which answers. `pid` is its own, not that of its leash."""

    ports: Sequence[int]
    pid: int
    log_path: Path


@contextmanager
def running(
    name: str, ports: int, plan: Callable[[Path, Sequence[int]], Plan]
) -> Generator[Running]:
    """Run a server for the length of the block, in a temporary folder of its own.

    `plan` is given that folder and as many free ports as asked for. The folder, the
    log in it and all the server's children are gone after the block.

    Raises:
        ServerError: it died, or didn't answer within 60 s.
    """
    left = _ATTEMPTS
    while True:
        try:
            server, stack = _start(name, free_ports(ports), plan)
        except _PortTakenError:
            left -= 1
            if not left:
                raise
        else:
            break
    with stack:
        yield server


def free_ports(count: int) -> list[int]:
    """Return so many different loopback ports which nobody holds at this moment."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _start(
    name: str, ports: Sequence[int], plan: Callable[[Path, Sequence[int]], Plan]
) -> tuple[Running, ExitStack]:
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix=f"spanrun-{name}-"))
        )
        planned = plan(folder, ports)
        log = folder / f"{name}.log"
        # The tests' own OTEL_* settings must not make the server send anything.
        env = {key: told for key, told in os.environ.items() if key[:5] != "OTEL_"}
        leash = stack.enter_context(
            Leash(planned.argv, log=log, folder=folder, env=env)
        )
        _await_ready(name, leash, planned, log)
        return Running(ports, leash.pid, log), stack.pop_all()
    raise AssertionError  # an ExitStack swallows nothing


def _await_ready(name: str, leash: Leash, plan: Plan, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    answers = False
    while not answers and time.monotonic() < deadline:
        answers = _answers(plan)
        # Looked at after the answer too: it may have come from another server.
        code = leash.wait(0 if answers else 0.05)
        if code is not None:
            end = tail(log, _TAIL)
            taken = "address already in use" in end.lower()
            raise (_PortTakenError if taken else ServerError)(
                f"{name} ended with exit code {code} while it started:\n{end}"
            )
    if not answers:
        raise ServerError(
            f"{name} doesn't answer {plan.ready_path} with 200 within "
            f"{_READY_WITHIN:.0f} s:\n{tail(log, _TAIL)}"
        )


def _answers(plan: Plan) -> bool:
    """Ask once; http.client, for it knows nothing of a proxy."""
    with closing(HTTPConnection(LOOPBACK, plan.ready_port, timeout=2)) as connection:
        try:
            connection.request("GET", plan.ready_path)
            return connection.getresponse().status == 200  # noqa: PLR2004 (HTTP's OK)
        except (OSError, HTTPException):
            return False
