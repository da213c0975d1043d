"""No secret leaves in a span, wherever it stands, and nothing else is hidden."""

from typing import Any

import pytest
from opentelemetry.trace import Link, SpanContext, StatusCode
from tests.telemetry.secret_texts import FORMS, STAY
from tests.telemetry.span.making import Box, attributes_of, limits

from spanrun.telemetry.span.view import view

OTHER = SpanContext(7, 8, is_remote=True)


@pytest.fixture(autouse=True)
def _redacts(part: Any) -> None:
    if not hasattr(part, "redact"):
        pytest.skip("redaction isn't compiled into this core")


GITHUB = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
KEYS = [
    "http.request.header.authorization",
    "db.password",
    "api_key",
    "client_secret",
    "X-Auth-Token",
]


def everywhere(box: Box, text: str) -> list[bytes]:
    """``text`` in each place that a span has for texts: what leaves, in bytes."""

    class Shows:
        def __str__(self) -> str:
            return text

    inner = {"text": text, "list": [text, [text]], "map": {"a": text, text: 1}}
    more = {**inner, "bytes": text.encode(), "object": Shows(), text: 1}
    span = box.start(text, attributes=more, links=[Link(OTHER, inner)])
    span.set_attribute("one", text)
    span.set_attribute(text, 1)
    span.set_attributes({"pair": ("a", text), "nested": {"a": {"b": [text]}}})
    span.add_event(text, more)
    span.add_link(OTHER, more)
    span.set_status(StatusCode.ERROR, text)
    span.record_exception(ValueError(text), {"more": text})
    seen = str(span.snapshot()), str(vars(view(span))), span.name, repr(span)
    span.update_name("a")
    span.update_name(text)
    span.end()
    assert not box.failures
    data = b"".join(batch.data for batch in box.buffer.take())
    return [data, *(each.encode() for each in seen)]


@pytest.mark.parametrize(("form", "secret"), FORMS, ids=range(len(FORMS)))
def test_a_secret_is_hidden_in_every_place(box: Box, form: str, secret: str) -> None:
    for left in everywhere(box, form.format(secret)):
        assert secret.encode() not in left
        assert b"[redacted]" in left


@pytest.mark.parametrize("text", STAY)
def test_what_is_no_secret_stays_as_it_is(box: Box, text: str) -> None:
    span = box.start(text, attributes={"a": text, "b": text.encode(), "c": [text]})
    span.add_event(text, {"a": text})
    span.end()
    message = box.one()
    shown = attributes_of(message)
    assert message.name == message.events[0].name == shown["a"] == text
    assert shown["b"] == text.encode()
    assert shown["c"].values[0].string_value == text


@pytest.mark.parametrize("key", KEYS)
def test_the_whole_value_of_a_key_that_names_a_secret_is_hidden(
    box: Box, key: str
) -> None:
    value = ["plain words", {"a": "plain words"}, b"plain words"]
    for given in ("plain words", b"plain words", value, {"x": value}):
        for _ in range(2):  # also when the key is known
            span = box.start(attributes={key: given})
            span.set_attributes({key: given})
            span.set_attribute(key, given)
            span.add_event("e", {key: given})
            span.add_link(OTHER, {key: given})
            span.end()
            (batch,) = box.buffer.take()
            assert b"plain words" not in batch.data


@pytest.mark.parametrize("key", KEYS)
def test_what_names_the_value_beside_it_hides_it(box: Box, key: str) -> None:
    span = box.start(
        attributes={
            "headers": [(key, "plain words"), ["other", "fine words"]],
            "pair": {"name": key, "value": "plain words"},
            "inner": {"deep": [{key: "plain words"}]},
        }
    )
    span.end()
    (batch,) = box.buffer.take()
    assert b"plain words" not in batch.data
    assert b"fine words" in batch.data


def test_numbers_under_such_a_key_and_empty_values_stay(box: Box) -> None:
    given = {"password": "", "token": 5, "secret": None, "api_key": True}
    span = box.start(attributes=given)
    span.end()
    assert attributes_of(box.one()) == given


@pytest.mark.parametrize("length", [20, 27, 30, 64])
def test_half_a_secret_at_the_cut_is_not_shown(part: Any, length: int) -> None:
    box = Box(part, limits=limits(length=length, inner_length=length))
    span = box.start(attributes={"a": f"lorem ipsum dolor {GITHUB}"})
    span.add_event("e", {"a": f"lorem ipsum dolor {GITHUB}"})
    span.end()
    (batch,) = box.buffer.take()
    assert GITHUB[:8].encode() not in batch.data


def test_half_a_secret_at_the_cut_of_16_kib_is_not_shown(box: Box) -> None:
    for before in range(16_384 - 60, 16_384 + 10, 7):
        text = "x" * (before - 1) + " " + GITHUB
        span = box.start(text, attributes={"a": text, "b": text.encode()})
        span.set_status(StatusCode.ERROR, text)
        span.end()
    for batch in box.buffer.take():
        assert GITHUB[:8].encode() not in batch.data
