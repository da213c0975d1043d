"""How an answer of a model's service goes wrong on purpose."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias, cast

from spanrun.testing._http import Answer

Fault: TypeAlias = Literal[
    "count",  # one vector too few
    "dimension",  # vectors one number short
    "drip",  # the body bit by bit, in 5 s
    "empty",  # an answer of the model without a text
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


def fields_of(body: bytes) -> dict[str, Any]:
    """The request's JSON object, which names a model.

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
    return fields


def spoilt(answer: dict[str, Any], path: str, fault: Fault | None) -> Answer:
    """``answer`` on its way to the client, as ``fault`` will have it."""
    body = json.dumps(answer).encode()
    match fault:
        case "html":
            page = b"<html><body>Bad gateway. Try again.</body></html>"
            return Answer(200, page, content_type="text/html")
        case "huge":
            return Answer(200, body.ljust(_HUGE))
        case "json":
            return Answer(200, body[: len(body) // 2])
        case "redirect":
            return Answer(307, headers={"location": f"http://localhost:1{path}"})
        case "drip" | "hang" | "reset" | "truncate":
            return Answer(200, body, delivery=fault)
        case _:
            return Answer(200, body)
