"""The rules: what the registry finds wrong in telemetry, and what it lets pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanrun import semconv
from spanrun.registry.read import (
    attribute_problems,
    event_problems,
    metric_problems,
    point_problems,
    span_problems,
    type_of,
)

JOB = {
    semconv.SPANRUN_RUNNER_NAME: "embed",
    semconv.SPANRUN_RUN_ID: "5f2c61d8a90b7e34",
    semconv.SPANRUN_JOB_INDEX: 3,
    semconv.SPANRUN_JOB_OUTCOME: "ok",
}
EXAMPLES = {"string": "x", "int": 1, "double": 0.5, "boolean": True, "string[]": ["x"]}


def example(key):
    """A value that is right."""
    values = semconv.VALUES.get(key)
    return values[0] if values else EXAMPLES[semconv.ATTRIBUTES[key]]


def told(problems):
    return [(problem.rule, problem.name) for problem in problems]


def job(**changes):
    attributes = {**JOB, **changes}
    return {key: value for key, value in attributes.items() if value is not None}


@pytest.mark.parametrize("place", semconv.SPANS)
def test_a_span_with_all_that_belongs_on_it_is_right(place):
    signal = semconv.SPANS[place]
    attributes = {key: example(key) for key in signal.attributes}
    name = signal.title
    for key, value in attributes.items():
        name = name.replace(f"{{{key}}}", str(value))
    assert span_problems(name, signal.kind, attributes, ours=True) == []
    needed = {key: attributes[key] for key in signal.required}
    assert span_problems(name, signal.kind, needed, ours=True) == []


@pytest.mark.parametrize("metric", semconv.METRICS, ids=lambda metric: metric.name)
def test_a_metric_with_all_that_belongs_on_it_is_right(metric):
    about = metric.name, metric.instrument, metric.unit
    assert list(metric_problems(*about, ours=True)) == []
    for keys in (metric.attributes, metric.required):
        labels = {key: example(key) for key in keys}
        assert list(point_problems(metric.name, labels, ours=True)) == []


@pytest.mark.parametrize("name", semconv.EVENTS)
def test_an_event_with_all_that_belongs_on_it_is_right(name):
    for keys in (semconv.EVENTS[name].attributes, semconv.EVENTS[name].required):
        attributes = {key: example(key) for key in keys}
        assert list(event_problems(name, attributes, ours=True)) == []


def test_what_a_user_sets_on_our_spans_is_the_users():
    attributes = job(**{"customer.tier": "gold", "tries": 3})
    assert span_problems("job embed", "internal", attributes, ours=True) == []


SPANS = [
    ({"spanrun.job.idx": 1}, ("unknown-name", "spanrun.job.idx")),
    ({semconv.SPANRUN_JOB_INDEX: "3"}, ("wrong-type", semconv.SPANRUN_JOB_INDEX)),
    ({semconv.SPANRUN_JOB_INDEX: True}, ("wrong-type", semconv.SPANRUN_JOB_INDEX)),
    (
        {semconv.SPANRUN_JOB_TIME_BUSY: 1},
        ("wrong-type", semconv.SPANRUN_JOB_TIME_BUSY),
    ),
    ({semconv.ERROR_TYPE: 503}, ("wrong-type", semconv.ERROR_TYPE)),
    ({semconv.SPANRUN_JOB_OUTCOME: "fine"}, ("wrong-value", "spanrun.job.outcome")),
    ({semconv.SPANRUN_JOB_OUTCOME: None}, ("missing-name", "spanrun.job.outcome")),
    ({semconv.SPANRUN_RUNNER_NAME: None}, ("missing-name", "spanrun.runner.name")),
    ({semconv.SPANRUN_BATCH_ITEMS: 1}, ("misplaced-name", "spanrun.batch.items")),
]


@pytest.mark.parametrize(("change", "problem"), SPANS)
def test_a_fault_in_a_span_is_found(change, problem):
    found = span_problems("job embed", "internal", job(**change), ours=True)
    assert told(found) == [problem]


def test_the_text_tells_what_it_is_and_what_it_should_be():
    attributes = job(**{"spanrun.job.idx": 1, semconv.SPANRUN_JOB_OUTCOME: "fine"})
    attributes[semconv.SPANRUN_JOB_INDEX] = "3" * 100
    texts = [
        problem.what
        for problem in span_problems("job embed", "internal", attributes, ours=True)
    ]
    assert texts == [
        f"is '{'3' * 58}…, of type string; must be of type int",
        "is 'fine'; must be one of ok, failed, timed_out, cancelled, skipped",
        "there is no such attribute; did you mean spanrun.job.index?",
    ]


@pytest.mark.parametrize(
    ("name", "kind", "attributes"),
    [
        ("task embed", "internal", JOB),
        ("job embed", "client", JOB),
        ("job embed", "", JOB),
        ("anything", "internal", {}),
        ("GET", "client", {}),
    ],
)
def test_a_span_of_no_known_kind_is_told_once(name, kind, attributes):
    found = span_problems(name, kind, attributes, ours=True)
    assert told(found) == [("unknown-name", name)]


def test_a_unit_may_be_called_like_a_job():
    unit = {semconv.SPANRUN_UNIT_NAME: "job x", semconv.SPANRUN_UNIT_OUTCOME: "ok"}
    assert span_problems("job x", "internal", unit, ours=True) == []


def test_of_others_only_our_names_are_looked_at():
    theirs = {semconv.ERROR_TYPE: 7, semconv.HTTP_REQUEST_METHOD: "BREW", "a": None}
    assert span_problems("any", "server", theirs, ours=False) == []
    assert list(event_problems("exception", theirs, ours=False)) == []
    assert (
        list(metric_problems("http.client.request.duration", "gauge", "ms", ours=False))
        == []
    )
    assert (
        list(point_problems("http.client.request.duration", theirs, ours=False)) == []
    )
    wrong = {**theirs, semconv.SPANRUN_JOB_INDEX: "3", "spanrun.x": 1}
    assert told(span_problems("any", "server", wrong, ours=False)) == [
        ("wrong-type", "spanrun.job.index"),
        ("unknown-name", "spanrun.x"),
    ]


def test_a_fault_in_an_event_is_found():
    retry = semconv.EVENT_SPANRUN_JOB_RETRY
    found = event_problems(retry, {semconv.SPANRUN_JOB_RETRY_DELAY: 1}, ours=True)
    assert told(found) == [
        ("wrong-type", semconv.SPANRUN_JOB_RETRY_DELAY),
        ("missing-name", semconv.ERROR_TYPE),
    ]
    assert told(event_problems("spanrun.job.retried", {}, ours=False)) == [
        ("unknown-name", "spanrun.job.retried")
    ]
    assert told(event_problems("my event", {"a": 1}, ours=True)) == []


def test_a_fault_in_a_metric_is_found():
    assert told(metric_problems("spanrun.jobs", "gauge", "1", ours=False)) == [
        ("wrong-kind", "spanrun.jobs"),
        ("wrong-unit", "spanrun.jobs"),
    ]
    assert told(metric_problems("spanrun.jobz", "gauge", "1", ours=False)) == [
        ("unknown-name", "spanrun.jobz")
    ]
    assert told(metric_problems("jobs", "gauge", "1", ours=True)) == [
        ("unknown-name", "jobs")
    ]
    assert told(metric_problems("jobs", "gauge", "1", ours=False)) == []


def test_a_fault_in_a_point_is_found():
    labels = {semconv.SPANRUN_JOB_OUTCOME: "ok", semconv.SPANRUN_JOB_INDEX: 3, "a": 1}
    assert told(point_problems("spanrun.jobs", labels, ours=True)) == [
        ("misplaced-name", semconv.SPANRUN_JOB_INDEX),
        ("missing-name", semconv.SPANRUN_RUNNER_NAME),
        ("misplaced-name", "a"),
    ]
    assert (
        list(point_problems("spanrun.jobs", {"otel.metric.overflow": True}, ours=True))
        == []
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", "string"),
        (True, "boolean"),
        (1, "int"),
        (1.0, "double"),
        (b"x", "bytes"),
        (None, "none"),
        ({}, "map"),
        ([], "string[]"),
        (("a", "b"), "string[]"),
        ([1], "int[]"),
        (["a", 1], "any[]"),
    ],
)
def test_types_are_named_as_in_the_registry(value, kind):
    assert type_of(value) == kind


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
keys = st.text() | st.sampled_from([*semconv.ATTRIBUTES, "spanrun."])


@given(st.text(), st.text(), st.dictionaries(keys, values), st.booleans())
def test_any_telemetry_can_be_judged(name, kind, attributes, ours):
    for problem in (
        *attribute_problems(attributes, ours=ours),
        *span_problems(name, kind, attributes, ours=ours),
        *event_problems(name, attributes, ours=ours),
        *metric_problems(name, kind, name, ours=ours),
        *point_problems(name, attributes, ours=ours),
    ):
        assert problem.what
