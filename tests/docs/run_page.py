"""Run the blocks of one page, in order, in one namespace: `run_page.py IN OUT`.

A process of its own for each page: what a page configures ends with it. Nothing
but loopback can be reached. What a page sends to `localhost:4318` is taken by a
sink that counts it.
"""

import contextlib
import io
import json
import subprocess
import sys
import threading
import traceback
import types
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OTLP = "localhost:4318"
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


def main(source: str, target: str) -> None:
    page = json.loads(Path(source).read_text(encoding="utf-8"))
    sys.addaudithook(_only_loopback)
    results: list[dict[str, str]] = []
    with sink() as (address, received):
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        _as_a_file(module, [each["code"] for each in page["blocks"]])
        for block in page["blocks"]:
            code = block["code"].replace(OTLP, address)
            run = _python if block["language"] == "python" else _shell
            output, error = run(code, page["name"], block["line"], vars(module))
            results.append({"output": output.replace(address, OTLP), "error": error})
            if error:
                break
        import spanrun  # noqa: PLC0415 -- as late as the page does

        spanrun.shutdown()
        told = {"results": results, "received": dict(received)}
    Path(target).write_text(json.dumps(told), encoding="utf-8")


def _as_a_file(module: types.ModuleType, blocks: list[str]) -> None:
    """Let workers find the functions of the first block, if it has engines."""
    if "spanrun.engines" in blocks[0]:
        file = Path("page.py").absolute()
        file.write_text(blocks[0], encoding="utf-8")
        module.__file__ = str(file)


def _python(code: str, name: str, line: int, names: dict[str, Any]) -> tuple[str, str]:
    # Empty lines in front: a traceback tells the line of the page.
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(compile("\n" * line + code, name, "exec"), names)  # noqa: S102
        except BaseException:  # noqa: BLE001 -- told to who runs the page
            return out.getvalue(), traceback.format_exc()
    return out.getvalue(), ""


def _shell(code: str, name: str, line: int, _: dict[str, Any]) -> tuple[str, str]:
    done = subprocess.run(
        ["bash", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    failed = f"{name}:{line}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout, failed if done.returncode else ""


def _only_loopback(event: str, details: tuple[Any, ...]) -> None:
    host: object = ""
    if event == "socket.connect" and isinstance(details[1], tuple):
        host = details[1][0]
    elif event == "socket.getaddrinfo":
        host = details[0] or ""
    if host not in _LOOPBACK:
        raise PermissionError(f"the docs' snippets may not reach {host!r}")


@contextlib.contextmanager
def sink() -> Iterator[tuple[str, Counter[str]]]:
    """An OTLP endpoint that takes everything; its address, and requests by path."""
    received: Counter[str] = Counter()

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received[self.path] += 1
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", received
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
