"""OpenAI's embedding API: request in, answer out, some of them spoilt on purpose."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, cast

from spanrun.testing._http import Answer

EmbedCounted: TypeAlias = Callable[[Sequence[str]], tuple[list[list[float]], int]]

Fault: TypeAlias = Literal[
    "count",  # one vector too few
    "dimension",  # vectors one number short
    "drip",  # the body bit by bit, in 5 s
    "hang",  # no answer at all
    "html",  # a proxy's page with status 200
    "huge",  # a body of 64 MiB
    "json",  # the JSON ends in the middle, the body is complete
    "nan",  # a number that is none
    "order",  # the last vector first; `index` still tells
    "redirect",  # to another origin
    "reset",  # the connection is reset in the middle of the body
    "truncate",  # the connection ends in the middle of the body
    "zero",  # a vector of zeros
]

MAX_INPUTS = 2048
_HUGE = 64 * 2**20

_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    429: "rate_limit_exceeded",
    503: "service_unavailable",
}


class RefusedError(Exception):
    """The request is understood, but not valid."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def failure(status: int, message: str, param: str | None = None) -> Answer:
    """An answer with an error body as OpenAI writes it."""
    kind = _TYPES.get(status, "server_error")
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Answer(status, json.dumps({"error": error}).encode())


def parse(body: bytes) -> tuple[list[str], str, bool]:
    """The texts, the model's name, and whether vectors are wanted in base64.

    Raises:
        RefusedError: What OpenAI's API answers with a 400, too.
    """
    try:
        asked: Any = json.loads(body)
    except ValueError:
        raise RefusedError("the body is not JSON") from None
    if not isinstance(asked, dict):
        raise RefusedError("the body is not a JSON object")
    fields = cast("dict[str, Any]", asked)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError("you must provide a model", "model")
    texts: Any = fields.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise RefusedError("'input' must be a text or a list of texts", "input")
    inputs = cast("Sequence[Any]", texts)
    if len(inputs) > MAX_INPUTS:
        raise RefusedError(f"'input' has more than {MAX_INPUTS} texts", "input")
    for index, text in enumerate(inputs):
        if not isinstance(text, str) or not text.strip():
            raise RefusedError(f"'input[{index}]' must be a text, not empty", "input")
    encoding = fields.get("encoding_format", "float")
    if encoding not in {"float", "base64"}:
        raise RefusedError("must be float or base64", "encoding_format")
    return cast("list[str]", inputs), model, encoding == "base64"


def respond(
    embed: EmbedCounted, body: bytes, poison: str | None, fault: Fault | None
) -> tuple[Answer, int]:
    """The answer to a request, spoilt if ``fault`` says so; how many texts it had.

    Blocks while the vectors are made.
    """
    try:
        texts, model, as_base64 = parse(body)
    except RefusedError as error:
        return failure(400, str(error), error.param), 0
    if poison is not None and any(poison in text for text in texts):
        return failure(400, "this input is not accepted", "input"), 0
    vectors, tokens = embed(texts)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _base64(vector) if as_base64 else vector,
        }
        for index, vector in enumerate(_spoilt(vectors, fault))
    ]
    if fault == "order":
        data.reverse()
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": model, "usage": usage}
    return _spoilt_answer(json.dumps(answer).encode(), fault), len(texts)


def _base64(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()


def _spoilt(vectors: list[list[float]], fault: Fault | None) -> list[list[float]]:
    first, rest = vectors[0], vectors[1:]
    match fault:
        case "count":
            return rest
        case "dimension":
            return [vector[:-1] for vector in vectors]
        case "nan":
            return [[float("nan"), *first[1:]], *rest]
        case "zero":
            return [[0.0] * len(first), *rest]
        case _:
            return vectors


def _spoilt_answer(body: bytes, fault: Fault | None) -> Answer:
    match fault:
        case "html":
            page = b"<html><body>Bad gateway. Try again.</body></html>"
            return Answer(200, page, content_type="text/html")
        case "huge":
            return Answer(200, body.ljust(_HUGE))
        case "json":
            return Answer(200, body[: len(body) // 2])
        case "redirect":
            elsewhere = "http://localhost:1/v1/embeddings"
            return Answer(307, headers={"location": elsewhere})
        case "drip" | "hang" | "reset" | "truncate":
            return Answer(200, body, delivery=fault)
        case _:
            return Answer(200, body)
