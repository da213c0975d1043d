"""`ChatServer`: an OpenAI-compatible chat service on loopback, slow and fallible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from spanrun.checks import function, optional
from spanrun.ingest import extract
from spanrun.testing._chat_api import PATH, Reply, respond
from spanrun.testing._faults import Fault
from spanrun.testing._http import Answer
from spanrun.testing._model_server import ModelServer, ServerOptions

__all__ = ["ChatServer"]


class ChatServer(ModelServer):
    """Serves ``POST /v1/chat/completions`` and ``GET /healthz``, without a model.

    What it answers is made of the last message: of its sentences the one that says
    most, as `Summary` finds them. For the rest it is as `EmbeddingServer`
    is: a context manager, slow, and fallible in the same ways.

    Args:
        reply: Makes the answer of the messages instead; called in a thread.
        options: ``latency``, ``jitter``, ``rate_limited``, ``unavailable``,
            ``retry_after``, ``seed``, ``token`` and ``poison``, as `EmbeddingServer`
            has them.

    Example:
        >>> import httpx
        >>> body = {"model": "m", "messages": [{"role": "user", "content": "Hello."}]}
        >>> with ChatServer(rate_limited=0, unavailable=0) as server:
        ...     answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        >>> answer.json()["choices"][0]["message"]["content"]
        'Hello.'
    """

    model = "extractive"

    def __init__(
        self, *, reply: Reply | None = None, **options: Unpack[ServerOptions]
    ) -> None:
        super().__init__(PATH, options)
        optional(function)("ChatServer", "reply", reply, plain=True)
        self._reply = reply or _extract

    def answer(self, body: bytes, fault: Fault | None) -> tuple[Answer, int]:
        """The completion of the messages in ``body``."""
        return respond(self._reply, body, self._poison, fault)


def _extract(messages: Sequence[Mapping[str, Any]]) -> str:
    text = messages[-1]["content"]
    return extract.summary(text, 1) or extract.title(text)
