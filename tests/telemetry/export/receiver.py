"""A receiver of OTLP over HTTP that answers as it is told, and requests to send it."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from tests.waiting import until


class Answer(NamedTuple):
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    delay: float = 0.0


class Got(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


OK = Answer()


class Receiver:
    """What arrived, and what is answered: ``answer`` is asked for each request."""

    def __init__(self, answer: Callable[[Got], Answer] = lambda _: OK) -> None:
        self.answer = answer
        self.requests: list[Got] = []
        self.taken: Counter[int] = Counter()
        self.order: list[int] = []
        self.connections = 0
        self.url = ""
        self._lock = threading.Lock()

    def saw(self, got: Got) -> Answer:
        with self._lock:
            self.requests.append(got)
        answer = self.answer(got)
        if 200 <= answer.status < 300 and not got.path.endswith(
            ("/v1/metrics", "/v1/logs")
        ):
            with self._lock:
                found = ids(got.body)
                self.taken.update(found)
                self.order.extend(found)
        return answer

    def wait_for(self, count: int) -> None:
        until(lambda: len(self.taken) >= count, f"the arrival of {count}")


@contextmanager
def receiving(
    answer: Callable[[Got], Answer] = lambda _: OK, *, port: int = 0, tls: Any = None
) -> Iterator[Receiver]:
    receiver = Receiver(answer)
    server = _Server(("127.0.0.1", port), _handler(receiver))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    receiver.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.close_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any) -> None:
        self._open: set[Any] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def close_all(self) -> None:
        self.server_close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(2)
            sock.close()

    def handle_error(self, *_: Any) -> None:
        """A client that is gone is what some tests are about."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = receiver.saw(Got(self.path, headers, body))
            if answer.delay:
                time.sleep(answer.delay)
            if answer.status == 0:  # no answer at all
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    return Handler


def spans(numbers: Iterable[int], text: str = "x") -> bytes:
    """An encoded request with a span for each number."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in numbers:
        scope.spans.add(
            name=text, span_id=number.to_bytes(8), trace_id=number.to_bytes(16)
        )
    return request.SerializeToString()


def ids(body: bytes) -> list[int]:
    """The numbers of the spans in a request; none for other requests."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except Exception:  # noqa: BLE001 -- metrics, or noise
        return []
    return [
        int.from_bytes(span.span_id)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def points(numbers: Iterable[int], *, temporality: int = 2) -> bytes:
    """An encoded request with one sum that has a data point for each number."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="jobs")
    metric.sum.aggregation_temporality = temporality
    for number in numbers:
        metric.sum.data_points.add(as_int=number)
    return request.SerializeToString()


def values(body: bytes) -> list[int]:
    """The data points in a request of `points`."""
    request = ExportMetricsServiceRequest.FromString(body)
    return [
        point.as_int
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.sum.data_points
    ]
