"""OpenAI's chat completions API: request in, answer out, some spoilt on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from spanrun.testing._faults import Fault, RefusedError, failure, fields_of, spoilt
from spanrun.testing._http import Answer

Reply: TypeAlias = Callable[[Sequence[Mapping[str, Any]]], str]

PATH = "/v1/chat/completions"
_ROLES = {"system", "developer", "user", "assistant"}


def parse(body: bytes) -> tuple[list[dict[str, Any]], str, int | None]:
    """The messages, the model's name, and how many words an answer may have.

    Raises:
        RefusedError: What OpenAI's API answers with a 400, too.
    """
    fields = fields_of(body)
    messages: Any = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError("'messages' must be a list, not empty", "messages")
    for place, message in enumerate(cast("Sequence[Any]", messages)):
        each = cast("dict[str, Any]", message if isinstance(message, dict) else {})
        if each.get("role") not in _ROLES or not isinstance(each.get("content"), str):
            raise RefusedError(f"'messages[{place}]' is not a message", "messages")
    most = fields.get("max_tokens")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise RefusedError("must be a whole number ≥ 1", "max_tokens")
    return cast("list[dict[str, Any]]", messages), fields["model"], most


def respond(
    reply: Reply, body: bytes, poison: str | None, fault: Fault | None
) -> tuple[Answer, int]:
    """The answer to a request, spoilt if ``fault`` says so; 1 text where it is one.

    A word counts as a token.
    """
    try:
        messages, model, most = parse(body)
    except RefusedError as error:
        return failure(400, str(error), error.param), 0
    said = " ".join(message["content"] for message in messages)
    if poison is not None and poison in said:
        return failure(400, "this input is not accepted", "messages"), 0
    words = reply(messages).split(" ")
    cut = most is not None and len(words) > most
    text: str | None = " ".join(words[:most])
    if fault == "empty":
        text = None
    asked, given = len(said.split()), len(words[:most])
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": "length" if cut else "stop",
    }
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [] if fault == "count" else [choice],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": given,
            "total_tokens": asked + given,
        },
    }
    return spoilt(answer, PATH, fault), 1
