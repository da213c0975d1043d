"""OpenAI's embedding API: request in, answer out, some of them spoilt on purpose."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from spanrun.testing._faults import Fault, RefusedError, failure, fields_of, spoilt
from spanrun.testing._http import Answer

EmbedCounted: TypeAlias = Callable[[Sequence[str]], tuple[list[list[float]], int]]

PATH = "/v1/embeddings"
MAX_INPUTS = 2048


def parse(body: bytes) -> tuple[list[str], str, bool]:
    """The texts, the model's name, and whether vectors are wanted in base64.

    Raises:
        RefusedError: What OpenAI's API answers with a 400, too.
    """
    fields = fields_of(body)
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
    return cast("list[str]", inputs), fields["model"], encoding == "base64"


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
    return spoilt(answer, PATH, fault), len(texts)


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
