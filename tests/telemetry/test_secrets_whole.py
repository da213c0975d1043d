"""Planted secrets, through a whole program: none is in anything that it writes."""

import json
from urllib.parse import quote

import pytest
from tests.telemetry.export.receiver import Answer, receiving
from tests.telemetry.test_secrets import ALL
from tests.telemetry.test_shutdown import refusing

from spanrun import recordings
from spanrun.telemetry.recordings.schema import FILE
from spanrun.telemetry.redact import HIDDEN

pytestmark = pytest.mark.slow

PROGRAM = """
import json, logging, os
from opentelemetry import baggage, metrics, trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from spanrun.runner.progress import Progress

logging.basicConfig(level=logging.DEBUG)
TEXTS = json.load(open(os.environ.pop("PLANTED")))
sr.configure()
tracer = trace.get_tracer("theirs")
counter = metrics.get_meter("theirs").create_counter("theirs")

def fail(text):
    error = ValueError(text)
    error.add_note(text)
    raise error

async def by_error(text): fail(text)
async def by_cause(text):
    try: fail(text)
    except ValueError as error: raise RuntimeError("outer") from error
async def by_group(text): raise ExceptionGroup(text, [OSError(2, text)])
async def by_unit_error(text):
    with sr.unit("inner"): fail(text)
async def by_unit_attribute(text):
    with sr.unit("inner", said=text, deep={"a": [text]}): pass
async def by_unit_name(text):
    with sr.unit(text): pass
async def by_current_span(text):
    span = trace.get_current_span()
    span.set_attribute("said", text)
    span.add_event(text, {"said": text})
    span.set_status(Status(StatusCode.ERROR, text))
async def by_foreign_name(text): tracer.start_span(text).end()
async def by_foreign_attribute(text):
    tracer.start_span("a", attributes={"said": text, "all": [text]}).end()
async def by_foreign_link(text):
    link = Link(SpanContext(1, 2, True), {"said": text})
    tracer.start_span("a", links=[link]).end()
async def by_foreign_event(text):
    span = tracer.start_span("a")
    span.add_event("said", {"said": text})
    span.end()
async def by_foreign_error(text):
    with tracer.start_as_current_span("a"): fail(text)
async def by_foreign_status(text):
    span = tracer.start_span("a")
    span.set_status(Status(StatusCode.ERROR, text))
    span.end()
async def by_foreign_metric(text): counter.add(1, {"said": text})
async def by_key(text): pass
async def by_ended_span(text):
    span = tracer.start_span(text)
    span.end()
    span.set_attribute("late", text)  # our log names the span

class Broken:
    def __init__(self, text): self.text = text
    def __repr__(self): return f"Broken({self.text!r})"
    def run_opened(self, run): raise ValueError(self.text)
    def job_ended(self, run, outcome): raise ValueError(self.text)
    def run_closed(self, run): raise ValueError(self.text)

CHANNELS = [each for name, each in list(globals().items()) if name.startswith("by_")]

async def main():
    for channel in CHANNELS:
        async with sr.Runner(channel.__name__) as runner:
            await runner.map(channel, TEXTS, errors="collect", key=str)
    for text in TEXTS[::10]:  # a runner each, with all its metrics
        watching = [Progress(sys.stderr), Broken(text)]
        async with sr.Runner(text, observers=watching) as runner:
            await runner.map(by_foreign_error, [text], errors="collect")

assert len(CHANNELS) >= 16 and len(TEXTS) >= 50
asyncio.run(main())
sr.shutdown()
"""


SHORT = 5  # a shorter one may be anywhere by chance
WORDS = {
    word
    for _, secret in ALL
    for word in (secret, *secret.split())
    if len(word) >= SHORT
    # "correct", of a password, is in "Incorrect API key provided", which is none.
    if not any(word in text for text, _ in ALL)
}


@pytest.fixture
def planted(run_program, tmp_path_factory):
    """Run the program; all that it has written, by where."""
    path = tmp_path_factory.mktemp("planted") / "texts.json"

    def run(texts=ALL, **environ):
        path.write_text(json.dumps([text.format(secret) for text, secret in texts]))
        told = [quote(text.format(secret), safe="") for text, secret in texts]
        pairs = ",".join(f"said{number}={each}" for number, each in enumerate(told))
        environ.setdefault("OTEL_RESOURCE_ATTRIBUTES", pairs)
        done = run_program(PROGRAM, PLANTED=str(path), **environ)
        assert done.code == 0, done.err[-2000:]
        written = {"stdout": done.out.encode(), "stderr": done.err.encode()}
        for file in run_program.folder.rglob("*"):
            if file.is_file():
                name = str(file.relative_to(run_program.folder))
                is_store = file.name == FILE  # whose batches are compressed
                written[name] = recorded(file) if is_store else file.read_bytes()
        return written

    return run


def recorded(file):
    """All texts, without ids: in those a short word may be by chance."""
    with recordings.open(file) as recording:
        parts = [session.command for session in recording.sessions()]
        parts += [(run.runner, run.policies) for run in recording.runs()]
        parts += [(job.key, job.error_type, job.error) for job in recording.jobs()]
        for span in recording.spans():
            parts += [span.name, span.status_text, span.scope, span.attributes]
            parts += [(event.name, event.attributes) for event in span.events]
            parts += [link.attributes for link in span.links]
        for request in recording.requests():
            for resource in request.resource_spans:
                scope = resource.scope_spans[0]
                parts += [resource.resource, scope.scope, scope.schema_url]
        return "\n".join(map(str, parts)).encode()


def found_in(written):
    """Where a secret is, or a word of one."""
    return sorted(
        (word, where)
        for word in WORDS
        for where, content in written.items()
        if word.encode() in content
    )


def test_none_arrives_nor_is_logged(planted):
    with receiving() as receiver:
        written = planted(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    for number, got in enumerate(receiver.requests):
        written[f"{got.path} {number}"] = got.body
    assert sum(body.count(HIDDEN.encode()) for body in written.values()) > 500
    assert found_in(written) == []


def test_none_is_in_the_spool_or_in_the_local_store(planted):
    with refusing() as port:
        written = planted(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            SPANRUN_STORE=".spanrun",
        )
    spooled = [content for where, content in written.items() if "/traces" in where]
    assert sum(content.count(HIDDEN.encode()) for content in spooled) > 500
    assert HIDDEN.encode() in written[".spanrun/telemetry.db"]
    assert found_in(written) == []


def test_none_is_on_the_console(planted):
    both = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
    written = planted(ALL[::3], **both)  # all of the metrics are printed, often
    assert written["stdout"].count(HIDDEN.encode()) > 500
    assert found_in(written) == []


def test_the_key_of_an_endpoint_is_in_no_log_and_no_status(run_program):
    secret = "hunter2" * 2

    def echo(got):
        return Answer(503, body=f"no {got.headers['api-key']}, {secret}".encode())

    program = (
        "import logging\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "sr.configure()\nsr.run(work())\n"
        "from spanrun.telemetry import setup\n"
        "print(setup.telemetry().flush(0.5), setup.telemetry().status())\n"
        "print(setup.telemetry().settings)\n"
        "sr.shutdown()\n"
    )
    with receiving(echo) as receiver:
        address = receiver.url.removeprefix("http://")
        done = run_program(
            program,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://me:{secret}@{address}",
            OTEL_EXPORTER_OTLP_HEADERS=f"api-key={secret}",
        )
    assert done.code == 0
    assert "503" in done.err
    assert "[redacted]" in done.err
    assert secret not in done.err + done.out
    for file in run_program.folder.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
