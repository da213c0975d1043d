"""`Chat`: answers from any endpoint that speaks OpenAI's chat completions API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, Unpack

from spanrun import checks, semconv
from spanrun.clients._json import at, is_list, text_at
from spanrun.clients._model_client import ClientOptions, ModelClient, note_usage
from spanrun.errors import ConfigurationError, ServiceError
from spanrun.policies.timeout import Timeout

__all__ = ["Chat", "ChatAnswer", "Message"]

_TIMEOUT: Final = Timeout(attempt=60, total=180)
_ROLES: Final = ("system", "developer", "user", "assistant")
_HOTTEST: Final = 2.0
_TEXTS: Final = ("text", "output_text")
_OPENING: Final = re.compile(r"\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_LONE_CLOSING: Final = re.compile(r"^\s*</think>\s*$", re.IGNORECASE | re.MULTILINE)


class Message(TypedDict):
    """What one side of a conversation says."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a model answered; ``str(answer)`` is its text.

    Attributes:
        text: The answer, without the reasoning. Empty where the model said nothing.
        finish_reason: Why it stopped: ``"stop"``, or ``"length"`` where the answer
            was cut off.
        model: The model that answered.
        input_tokens: Tokens of the messages, as the service counted them.
        output_tokens: Tokens of the answer.
        reasoning: What the model wrote before its answer in ``<think>`` tags.

    What the service doesn't tell is None.
    """

    text: str
    finish_reason: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning: str | None = None

    def __str__(self) -> str:
        return self.text


class Chat(ModelClient):
    """Answers of a language model, from ``POST {base_url}/chat/completions``.

    Every request is a job of `runner`. Open the client with ``async with``; or use
    it at once and close it with `aclose`. Messages and answers are never in
    telemetry. Answers come whole: there is no streaming, and there are no tools.

    Args:
        base_url: As OpenAI's clients take it, with ``/v1``.
        model: The model's name.
        api_key: Sent as a bearer token. Never in telemetry.
        temperature: How far the model may stray from the likeliest answer, 0 to 2;
            None leaves that to the service.
        max_tokens: The length of an answer at most; None leaves that to the service.
        fields: Sent as well in each request.
        options: See `ClientOptions`. An attempt has 60 s by default, a request with
            all its attempts 180 s.

    Raises:
        ConfigurationError: At once, for a value that can't work.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        fields: Mapping[str, Any] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(
            base_url,
            model=model,
            api_key=api_key,
            defaults=("chat", _TIMEOUT),
            error=ServiceError,
            options=options,
        )
        checks.optional(checks.mapping)("Chat", "fields", fields, "names to values")
        self._fields: Final[dict[str, Any]] = {"model": model, **(fields or {})}
        self._asked: Final[dict[str, Any]] = {}
        if temperature is not None:
            hot = checks.between("Chat", "temperature", temperature, 0, _HOTTEST)
            self._fields["temperature"] = hot
            self._asked[semconv.GEN_AI_REQUEST_TEMPERATURE] = float(hot)
        if max_tokens is not None:
            max_tokens = checks.whole("Chat", "max_tokens", max_tokens, 1)
            self._fields["max_tokens"] = max_tokens
            self._asked[semconv.GEN_AI_REQUEST_MAX_TOKENS] = max_tokens

    async def achat(self, messages: str | Sequence[Message]) -> ChatAnswer:
        """The model's answer to ``messages``.

        Args:
            messages: The conversation so far, or one text of the user.

        Raises:
            ConfigurationError: ``messages`` is empty, or one isn't a message.
            ServiceError: The service could not be reached, refused, or gave no answer
                that can be used.
            DeadlineExceeded: Its time was up.
            ShuttingDown: The client is closed.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        given = checks.each("Chat", "messages", messages, "messages, or one text")
        checked = [_message(n, message) for n, message in enumerate(given)]
        if not checked:
            raise ConfigurationError("messages=[]: must have one at least")
        return await self._call(self._ask, checked)

    def chat(self, messages: str | Sequence[Message]) -> ChatAnswer:
        """`achat`, from code that isn't async; works inside a running loop as well."""
        return self._sync(lambda twin: twin.achat(messages))

    async def _ask(self, messages: list[Message]) -> ChatAnswer:
        with self._operation("chat", **self._asked) as call:
            answer = await self._http.post(
                "/chat/completions", {**self._fields, "messages": messages}
            )
            text, reasons = _choice(answer)
            if reasons:
                call.set(semconv.GEN_AI_RESPONSE_FINISH_REASONS, reasons)
            if name := text_at(answer, "id"):
                call.set(semconv.GEN_AI_RESPONSE_ID, name)
            into, out = note_usage(call, answer)
        reason = reasons[0] if reasons else None
        text, reasoning = _without_reasoning(text)
        name = text_at(answer, "model")
        return ChatAnswer(text, reason, name, into, out, reasoning)


def _choice(answer: Any) -> tuple[str, tuple[str, ...]]:
    """The text of the first choice, and why the model stopped."""
    choices = at(answer, "choices")
    if not is_list(choices) or not choices:
        raise ServiceError("the answer has no list named 'choices'")
    message = at(choices[0], "message")
    reason = text_at(choices[0], "finish_reason")
    text = _text(at(message, "content"))
    if text is None:
        refusal = text_at(message, "refusal")
        why = f"refused: {refusal:.100}" if refusal else f"finish_reason: {reason}"
        raise ServiceError(f"choices[0] of the answer has no text ({why})")
    return text, (reason,) if reason else ()


def _text(content: Any) -> str | None:
    """The text of a message, which may be in parts; what isn't text is left out."""
    if not is_list(content):
        return content if isinstance(content, str) else None
    texts = [text_at(part, "text") for part in content if at(part, "type") in _TEXTS]
    told = [text for text in texts if text is not None]
    return "".join(told) if told else None


def _message(place: int, value: object) -> Message:
    role, content = text_at(value, "role"), text_at(value, "content")
    if role not in _ROLES or content is None:
        raise ConfigurationError(
            f"messages[{place}]: must be {{'role': …, 'content': a text}} with a role "
            f"of {', '.join(_ROLES)}"
        )
    return {"role": role, "content": content}  # type: ignore[typeddict-item]


def _without_reasoning(text: str) -> tuple[str, str | None]:
    """The answer in ``text``, and the reasoning before it if there is some.

    Servers that don't know a model's form leave it in the text, at the beginning, in
    ``<think>…</think>``; those whose prompt ends in ``<think>`` leave its end alone.
    Reasoning that was cut off has no answer behind it.
    """
    opening = _OPENING.match(text)
    if opening is None:
        closing = _LONE_CLOSING.search(text)
        if closing is None:
            return text, None
        return text[closing.end() :].lstrip(), text[: closing.start()].strip()
    closing = re.compile(f"</{opening[1]}>", re.IGNORECASE).search(text, opening.end())
    if closing is None:
        return "", text[opening.end() :].strip()
    reasoning = text[opening.end() : closing.start()].strip()
    return text[closing.end() :].lstrip(), reasoning
