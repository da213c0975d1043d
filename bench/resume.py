"""What a long job costs that is ended twice: ``make bench-resume``, about 2 minutes.

20,000 texts go through the embeddings client with a checkpoint, 4 a request. Early on
the service is away for a minute: it closes each connection. The first command is ended
by ``kill -9`` in the middle, the second one by Ctrl-C, and the third one comes to the
end. Then all vectors must be there, each once and right, and the service must have been
asked hardly more often than it takes without all that.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import spanrun as sr
from spanrun.clients.embeddings import Embeddings

ROOT: Final = Path(__file__).parent.parent
BATCH: Final = 4
LATENCY: Final = 0.02
MOST: Final = 1.02
"""Requests, as a multiple of the least."""


def vector(text: str) -> list[float]:
    number = float(text.split()[1])
    return [number, -number, 0.5]


def texts_of(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


async def embed(url: str, path: Path, count: int) -> bool:
    """What each of the three commands does; whether all vectors are right."""
    texts = texts_of(count)
    async with Embeddings(url, model="m", batch=BATCH) as embeddings:
        found = await embeddings.aget_text_embedding_batch(
            texts, checkpoint=sr.Checkpoint(path)
        )
    return found == [vector(text) for text in texts]


class Service(ThreadingHTTPServer):
    """Embeds texts, but not for ``seconds`` once a tenth of them is done."""

    daemon_threads = True

    def __init__(self, count: int, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self._changed: Final = threading.Condition()
        self._from: Final = count // 10
        self._seconds: Final = seconds
        self._back: float | None = None
        self.requests = self.in_vain = self.texts = 0

    def handle_error(self, *_: object) -> None:
        """A client was killed."""

    def asked(self) -> bool:
        """Note a request; whether it gets an answer."""
        with self._changed:
            self.requests += 1
            if self._back is None and self.texts >= self._from:
                self._back = time.monotonic() + self._seconds
            away = self._back is not None and time.monotonic() < self._back
            self.in_vain += away
            return not away

    def answered(self, texts: int) -> None:
        """Note the texts that were embedded."""
        with self._changed:
            self.texts += texts
            self._changed.notify_all()

    def wait_for(self, texts: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many were embedded, or ``process`` has ended."""
        with self._changed:
            while self.texts < texts and process.poll() is None:
                self._changed.wait(1.0)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.server.asked():
            self.close_connection = True
            return
        time.sleep(LATENCY)
        rows = [
            {"index": index, "embedding": vector(text)}
            for index, text in enumerate(body["input"])
        ]
        answer = json.dumps({"data": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.server.answered(len(rows))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def lives(service: Service, path: Path, count: int) -> bool:
    """Run the three commands; whether the last one had all vectors."""
    url = f"http://127.0.0.1:{service.server_port}/v1"
    command = [sys.executable, "-m", "bench.resume", "--run", url, str(path)]
    ends = [(signal.SIGKILL, 0.5), (signal.SIGINT, 0.75), (None, 2.0)]
    for ends_by, share in ends:
        began = time.monotonic()
        with subprocess.Popen(
            [*command, "--texts", str(count)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            service.wait_for(int(share * count), process)
            if ends_by is not None:
                process.send_signal(ends_by)
            said, _ = process.communicate()
        seconds = time.monotonic() - began
        how = "its end" if ends_by is None else ends_by.name
        print(
            f"{how:<8} after {seconds:5.1f} s: {service.texts:,} texts "
            f"embedded, {service.requests:,} requests, {service.in_vain} of them in "
            f"vain, {kept(path):,} vectors in the checkpoint",
            flush=True,
        )
    return bool(said) and json.loads(said)


def kept(path: Path) -> int:
    """How many items have a result in the checkpoint, each once."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT count(*), count(DISTINCT id) FROM outcomes WHERE outcome = 'ok'"
        rows, items = db.execute(query).fetchone()
    assert rows == items
    return int(items)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--outage", type=float, default=60.0, help="seconds")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        url, path = asked.run
        print(json.dumps(sr.run(embed(url, Path(path), asked.texts))))
        return 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(asked.texts, asked.outage) as service,
    ):
        threading.Thread(target=service.serve_forever, daemon=True).start()
        right = lives(service, Path(folder) / "texts.checkpoint", asked.texts)
        service.shutdown()
    least = -(-asked.texts // BATCH)
    share = service.requests / least
    print(f"{service.requests:,} requests are {share:.3f} × the least, {least:,}")
    print("all vectors are there, once" if right else "vectors are wrong")
    return 0 if right and share <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
