"""A small HTTP/2 server on loopback, with the same answer for all."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
from tests.waiting import becomes


class H2Server:
    """What the server does and has seen.

    Attributes:
        body: Of each answer.
        unanswered: The requests, counted from 1, that get no answer.
        goes_away: It ends each connection after its first answer.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.unanswered: set[int] = set()
        self.goes_away = False
        self.requests = 0
        self.received = 0
        self.connections: list[Any] = []

    async def asked(self, requests: int) -> None:
        await becomes(lambda: self.requests >= requests)


class _Peer(asyncio.Protocol):
    def __init__(self, server: H2Server) -> None:
        self.server = server
        config = h2.config.H2Configuration(client_side=False)
        self.state = h2.connection.H2Connection(config)
        self.unsent: dict[int, bytes] = {}
        self.gone = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.append(transport)
        self.state.initiate_connection()
        transport.write(self.state.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self.gone:
            return
        for event in self.state.receive_data(data):
            match event:
                case h2.events.DataReceived():
                    self.server.received += len(event.data)
                    length = event.flow_controlled_length
                    self.state.acknowledge_received_data(length, event.stream_id)
                case h2.events.StreamEnded():
                    self._answer(event.stream_id)
                case h2.events.WindowUpdated():
                    for stream in list(self.unsent):
                        self._send(stream)
        self.transport.write(self.state.data_to_send())

    def _answer(self, stream: int) -> None:
        self.server.requests += 1
        if self.server.requests in self.server.unanswered:
            return
        headers = [(":status", "200"), ("content-type", "application/json")]
        self.state.send_headers(stream, headers)
        self.unsent[stream] = self.server.body
        self._send(stream)
        if self.server.goes_away:
            self.state.close_connection()
            self.gone = True

    def _send(self, stream: int) -> None:
        body = self.unsent[stream]
        while body:
            window = self.state.local_flow_control_window(stream)
            size = min(window, self.state.max_outbound_frame_size)
            if not size:
                break
            self.state.send_data(stream, body[:size])
            body = body[size:]
        self.unsent[stream] = body
        if not body:
            self.state.end_stream(stream)
            del self.unsent[stream]


@asynccontextmanager
async def h2_serving(
    body: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[H2Server, int]]:
    """The server, and its port."""
    made = H2Server(body)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Peer(made), "127.0.0.1", 0, ssl=tls)
    try:
        yield made, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in made.connections:
            transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
