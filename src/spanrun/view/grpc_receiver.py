"""`GrpcReceiver`: takes OTLP over gRPC from programs of any language, and keeps it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import grpc  # type: ignore[import-untyped]  # it has no stubs

from spanrun.telemetry.recordings.otlp_store import OtlpStore
from spanrun.text import inert
from spanrun.view.intake import AT_ONCE, KINDS, MAX_BODY, Intake, decoded


class GrpcReceiver(Intake):
    """Listens for OTLP over gRPC without TLS, plain and compressed.

    A message is read when a thread is free for it, so no more of them are in memory
    than there are threads.

    Args:
        store: Where all of it goes.
        host: The address to listen at.
        port: Where to listen; 0 for one that is free.

    Raises:
        OSError: The port is taken, or the address isn't ours.
    """

    def __init__(self, store: OtlpStore, host: str, port: int) -> None:
        super().__init__(store)
        self._threads: Final = ThreadPoolExecutor(AT_ONCE)
        self._server: Final = grpc.server(
            self._threads,
            options=(
                ("grpc.max_receive_message_length", MAX_BODY),
                ("grpc.so_reuseport", 0),
            ),
        )
        self._server.add_generic_rpc_handlers(
            [self._handler(kind) for kind in KINDS.values()]
        )
        is_6 = ":" in host
        family = socket.AF_INET6 if is_6 else socket.AF_INET
        with socket.socket(family) as probe:  # gRPC doesn't say what is wrong
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        self.host: Final = f"[{host}]" if is_6 else host
        self.port: Final[int] = self._server.add_insecure_port(f"{self.host}:{port}")

    @property
    def url(self) -> str:
        """What to set as ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Answer requests, in threads of its own, until `close`."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening; a request that is being kept has a second for it."""
        self._server.stop(grace=1).wait()
        self._threads.shutdown()

    def _handler(self, kind: Any) -> Any:
        """What answers the service whose requests are of this ``kind``."""
        (service,) = kind.DESCRIPTOR.file.services_by_name.values()
        make: Any = grpc.unary_unary_rpc_method_handler
        export = {"Export": make(partial(self._export, kind))}
        return grpc.method_handlers_generic_handler(service.full_name, export)

    def _export(self, kind: Any, body: bytes, context: Any) -> bytes:
        try:
            request = decoded(kind, body)
        except ValueError as error:
            why = f"the message is no {kind.DESCRIPTOR.name}: {error}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, inert(why)[:1000])
            raise
        answer: bytes = self.take(request).SerializeToString()
        return answer
