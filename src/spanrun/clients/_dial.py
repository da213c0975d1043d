"""`dial`: a connected socket, from whichever of a host's addresses answers first."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final, TypeAlias

from spanrun.descriptors import exhausted

_NEXT: Final = 0.25
"""Seconds until the next address is tried as well: RFC 8305, "happy eyeballs"."""

_Address: TypeAlias = tuple[int, int, int, str, Any]


async def dial(host: str, port: int) -> socket.socket:
    """Connect to ``host``. Whatever happens, no other socket is left open.

    asyncio's own way of doing so loses a socket where it is cancelled as that connects.

    Raises:
        OSError: Of the first address, or the one for which no descriptor was left;
            none could be reached.
    """
    loop = asyncio.get_running_loop()
    addresses = await _resolve(loop, host, port)
    if len(addresses) == 1:
        return await _connect(loop, addresses[0])
    tasks: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while addresses or tasks:
            if addresses:
                tasks.add(loop.create_task(_connect(loop, addresses.pop(0))))
            done, _ = await asyncio.wait(
                tasks,
                timeout=_NEXT if addresses else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                error = task.exception()
                if error is None:
                    tasks.discard(task)
                    return task.result()
                tasks.discard(task)
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
    finally:
        for task in tasks:
            task.add_done_callback(_close)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    raise next(filter(exhausted, errors), errors[0])


async def _resolve(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> list[_Address]:
    kind = socket.SOCK_STREAM
    try:  # a number needs no look-up, which would be done in a thread
        return list(
            socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
        )
    except socket.gaierror:
        return list(await loop.getaddrinfo(host, port, type=kind))


async def _connect(loop: asyncio.AbstractEventLoop, address: _Address) -> socket.socket:
    family, kind, protocol, _, place = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)  # noqa: FBT003 -- the standard library's own
        await loop.sock_connect(made, place)
    except BaseException:
        made.close()
        raise
    return made


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
