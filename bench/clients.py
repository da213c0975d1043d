"""What a request costs in `Embeddings`, and beside it: ``python -m bench.clients``.

A server in a process of its own answers each request after 20 ms, exactly and with
as little work as it can. The clients embed 5,000 texts, 32 requests at a time. The
ideal is requests × latency ÷ width: nothing but the waiting. Every run has a fresh
process, the contestants take turns, and CPU is that of the client's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import gc
import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
if __package__ in {None, ""}:  # run as a script
    sys.path.insert(0, str(ROOT))

from bench import sink  # noqa: E402 -- after the path is set

TEXTS = 5_000
WIDTH = 32
LATENCY = 0.02
DIMENSION = 256
WARM = 256

Contestant = Callable[[str, list[str], int], Coroutine[Any, Any, int]]


class Answering(asyncio.Protocol):
    """One connection: answers each request after the latency, from a text made once."""

    answers: dict[tuple[int, bool], bytes] = {}  # noqa: RUF012 -- for all connections

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.received = b""
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.received = body[length:]
        asked = json.loads(body[:length])
        kind = len(asked["input"]), "encoding_format" in asked
        if kind not in self.answers:
            self.answers[kind] = vectors(*kind)
        answer = self.answers[kind]
        self.loop.call_later(LATENCY, self.transport.write, answer)


def vectors(count: int, packed: bool) -> bytes:  # noqa: FBT001 -- a key
    """A whole answer with ``count`` vectors."""
    numbers = [(number + 0.5) / 1000.123 for number in range(DIMENSION)]
    vector: object = numbers
    if packed:
        vector = base64.b64encode(array("f", numbers).tobytes()).decode()
    rows = [{"index": index, "embedding": vector} for index in range(count)]
    body = json.dumps({"data": rows, "usage": {"prompt_tokens": 7 * count}}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n"
    return f"{head}content-type: application/json\r\n\r\n".encode() + body


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(
        Answering, "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def serving() -> Generator[str]:
    command = [sys.executable, "-m", "bench.clients", "serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as made:
        try:
            assert made.stdout is not None
            yield f"http://127.0.0.1:{int(made.stdout.readline())}/v1"
        finally:
            made.terminate()


async def httpx_alone(
    url: str, texts: list[str], batch: int, *, ours: bool = False
) -> int:
    """As one writes it by hand: tasks that share the batches, nothing is checked."""
    import httpx  # noqa: PLC0415 -- only this contestant pays for it

    groups = iter([texts[n : n + batch] for n in range(0, len(texts), batch)])
    transport: httpx.AsyncBaseTransport
    if ours:
        from spanrun.clients import Transport  # noqa: PLC0415 -- the same

        transport = Transport()
    else:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        transport = httpx.AsyncHTTPTransport(limits=limits)
    found = 0

    async def work() -> None:
        nonlocal found
        for group in groups:
            body = {"model": "m", "input": group}
            answer = await client.post(f"{url}/embeddings", json=body)
            found += len([row["embedding"] for row in answer.json()["data"]])

    async with httpx.AsyncClient(timeout=None, transport=transport) as client:
        await asyncio.gather(*(work() for _ in range(WIDTH)))
    return found


async def aiohttp_alone(url: str, texts: list[str], batch: int) -> int:
    """The same by aiohttp, which has no HTTP/2."""
    import aiohttp  # noqa: PLC0415 -- only this contestant pays for it

    groups = iter([texts[n : n + batch] for n in range(0, len(texts), batch)])
    found = 0

    async def work() -> None:
        nonlocal found
        for group in groups:
            body = {"model": "m", "input": group}
            async with session.post(f"{url}/embeddings", json=body) as answer:
                rows = (await answer.json())["data"]
            found += len([row["embedding"] for row in rows])

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work() for _ in range(WIDTH)))
    return found


async def sockets(url: str, texts: list[str], batch: int) -> int:
    """What this machine can do at best: no HTTP library at all, one answer assumed."""
    groups = iter([texts[n : n + batch] for n in range(0, len(texts), batch)])
    port = int(url.rpartition(":")[2].partition("/")[0])
    found = 0

    async def work() -> None:
        nonlocal found
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for group in groups:
            body = json.dumps({"model": "m", "input": group}).encode()
            head = f"POST /v1/embeddings HTTP/1.1\r\ncontent-length: {len(body)}"
            writer.write(f"{head}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r")[0])
            answer = json.loads(await reader.readexactly(length))
            found += len([row["embedding"] for row in answer["data"]])
        writer.close()

    await asyncio.gather(*(work() for _ in range(WIDTH)))
    return found


async def embeddings(url: str, texts: list[str], batch: int, **options: Any) -> int:
    from spanrun.clients.embeddings import Embeddings  # noqa: PLC0415 -- the same

    client = Embeddings(url, model="m", batch=batch, limit=WIDTH, **options)
    async with client:
        return len(await client.aget_text_embedding_batch(texts))


CONTESTANTS: dict[str, tuple[str, Contestant]] = {
    "sockets": ("asyncio's streams by hand, no HTTP library", sockets),
    "httpx": ("bare httpx, nothing checked", httpx_alone),
    "transport": (
        "httpx's client over our **Transport**, nothing checked",
        functools.partial(httpx_alone, ours=True),
    ),
    "aiohttp": ("bare aiohttp, nothing checked", aiohttp_alone),
    "spanrun": ("**Embeddings**, no telemetry", embeddings),
    "spanrun-base64": (
        "**Embeddings** in base64, no telemetry",
        functools.partial(embeddings, encoding="base64"),
    ),
    "spanrun-otlp": ("**Embeddings**, every span delivered by OTLP", embeddings),
}


def measure(name: str, url: str, batch: int, endpoint: str) -> dict[str, float]:
    """Seconds of one run in this process: on the clock, and of CPU."""
    if endpoint:
        import spanrun as sr  # noqa: PLC0415 -- only this contestant pays for it

        sr.configure(service_name="bench", endpoint=endpoint)
    _, embed = CONTESTANTS[name]
    texts = [f"Text {number} of a long report." for number in range(TEXTS)]
    asyncio.run(embed(url, texts[:WARM], batch))
    gc.collect()
    cpu = time.process_time()

    async def timed() -> float:
        began = time.perf_counter()
        if await embed(url, texts, batch) != TEXTS:
            sys.exit(f"{name}: not every text has a vector")
        return time.perf_counter() - began

    wall = asyncio.run(timed())
    if endpoint:
        sr.shutdown(timeout=60)
    return {"wall": wall, "cpu": time.process_time() - cpu}


def in_a_process(name: str, url: str, batch: int, endpoint: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.clients", "measure", name, url, str(batch)]
    if name == "spanrun-otlp":
        command += ["--endpoint", endpoint]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(
        command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(rounds: int, batches: list[int]) -> None:
    print("| contestant | texts a request | wall s | × ideal | CPU µs | × httpx |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with serving() as url, sink.running() as endpoint:
        for batch in batches:
            requests = -(-TEXTS // batch)
            ideal = requests * LATENCY / WIDTH
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
            for number in range(rounds):
                names = list(CONTESTANTS)
                turn = number % len(names)
                for name in (*names[turn:], *names[:turn]):
                    runs[name].append(in_a_process(name, url, batch, endpoint))
            for name, (title, _) in CONTESTANTS.items():
                wall = [run["wall"] for run in runs[name]]
                over = [each / ideal for each in wall]
                cpu = [run["cpu"] / requests * 1e6 for run in runs[name]]
                ratio = [
                    run["cpu"] / bare["cpu"]
                    for run, bare in zip(runs[name], runs["httpx"], strict=True)
                ]
                print(
                    f"| {title} | {batch} | {spread(wall, 3)} | "
                    f"{spread(over, 2)} | {spread(cpu, 0)} | {spread(ratio, 2)} |",
                    flush=True,
                )


def spread(samples: list[float], digits: int) -> str:
    low, high = min(samples), max(samples)
    return f"{median(samples):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.clients", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 10, 50])
    modes = parser.add_subparsers(dest="mode")
    modes.add_parser("serve")
    one = modes.add_parser("measure")
    one.add_argument("name", choices=CONTESTANTS)
    one.add_argument("url")
    one.add_argument("batch", type=int)
    one.add_argument("--endpoint", default="")
    asked = parser.parse_args()
    if asked.mode == "serve":
        asyncio.run(serve())
    elif asked.mode == "measure":
        print(json.dumps(measure(asked.name, asked.url, asked.batch, asked.endpoint)))
    else:
        compare(asked.rounds, asked.batches)


if __name__ == "__main__":
    main()
