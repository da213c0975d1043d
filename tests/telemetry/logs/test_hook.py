"""Records of `logging`: what is put on them, and which of them are taken."""

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

import spanrun as sr
from spanrun.telemetry.logs import hook
from spanrun.telemetry.logs.place import Place
from spanrun.telemetry.suppression import suppressed
from spanrun.testing import Captured, capture

Taken = list[tuple[logging.LogRecord, Place]]
NAMES = sorted(hook.MARKS)


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture() as found:
        yield found


@pytest.fixture
def taken() -> Iterator[Taken]:
    found: Taken = []

    def take(record: logging.LogRecord, where: Place) -> None:
        found.append((record, where))

    hook.attach(logging.INFO, take)
    yield found
    hook.detach(take)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("app.part")
    made.setLevel(logging.DEBUG)
    yield made
    made.setLevel(logging.NOTSET)
    made.propagate = True
    made.handlers.clear()
    made.filters.clear()


def marks(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name in hook.MARKS}


def named(captured: Captured, name: str) -> list[Any]:
    return [span for span in captured.spans if span.name == name]


async def in_jobs(job: Any, items: Any, **policies: Any) -> list[Any]:
    async with sr.Runner("work", **policies) as runner:
        return await runner.map(job, items, key=lambda item: f"key {item}")


@pytest.mark.parametrize("policies", [{}, {"retry": sr.Retry(on=OSError, attempts=2)}])
def test_a_record_says_in_which_job_it_was_made(
    captured: Captured, taken: Taken, logger: logging.Logger, policies: dict[str, Any]
):
    async def job(item: int) -> int:
        await asyncio.sleep(0)
        logger.info("item %d", item)
        await asyncio.to_thread(logger.info, "in a thread, item %d", item)
        return trace.get_current_span().get_span_context().span_id

    spans = sr.run(in_jobs(job, range(5), limit=3, **policies))
    (run,) = named(captured, "run work")
    jobs = {
        each.attributes["spanrun.job.index"]: each
        for each in named(captured, "job work")
    }
    assert len(taken) == 10
    for record, _ in taken:
        told = marks(record)
        index = told["spanrun_job_index"]
        assert record.getMessage().endswith(f"item {index}")
        assert told == {
            "trace_id": f"{jobs[index].trace_id:032x}",
            "span_id": f"{spans[index]:016x}",
            "spanrun_run_id": run.attributes["spanrun.run.id"],
            "spanrun_runner": "work",
            "spanrun_job_index": index,
            "spanrun_job_key": f"key {index}",
        }


def test_a_record_in_a_unit_has_its_span_and_one_outside_has_nothing(
    captured: Captured, taken: Taken, logger: logging.Logger
):
    with sr.unit("part"):
        logger.info("inside")
    logger.info("outside")
    (part,) = named(captured, "part")
    assert [marks(record) for record, _ in taken] == [
        {
            "trace_id": f"{part.trace_id:032x}",
            "span_id": f"{part.span_id:016x}",
        },
        {},
    ]


def test_a_job_within_a_job_is_the_one_that_is_told(
    captured: Captured, taken: Taken, logger: logging.Logger
):
    async def inner(item: int) -> None:
        logger.info("inner")

    async def outer(item: int) -> None:
        async with sr.Runner("inner") as runner:
            await runner.map(inner, [item])
        logger.info("outer")

    sr.run(in_jobs(outer, [7]))
    told = [(r.getMessage(), marks(r)["spanrun_runner"]) for r, _ in taken]
    assert told == [("inner", "inner"), ("outer", "work")]


def test_what_the_program_has_put_on_a_record_stays(
    captured: Captured, taken: Taken, logger: logging.Logger
):
    with sr.unit("part"):
        logger.info("mine", extra={"trace_id": "mine", "span_id": "too"})
    ((record, where),) = taken
    assert (record.__dict__["trace_id"], record.__dict__["span_id"]) == ("mine", "too")
    assert where.span is not None


def test_every_handler_finds_the_marks(
    captured: Captured, taken: Taken, logger: logging.Logger
):
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(trace_id)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    with sr.unit("part"):
        logger.warning("seen")
    (part,) = named(captured, "part")
    assert out.getvalue() == f"{part.trace_id:032x} seen\n"
    assert taken == []  # its records don't reach the root


def test_level_filters_and_loggers_decide_what_is_taken(
    taken: Taken, logger: logging.Logger
):
    logger.debug("below")
    logger.info("taken")
    logger.addFilter(lambda record: "no" not in record.getMessage())
    logger.warning("no")
    logger.warning("yes")
    for name in ("spanrun", "spanrun.telemetry", "httpcore.http11", "grpc._channel"):
        logging.getLogger(name).error("of the way that records take")
    with suppressed():
        logger.error("while telemetry is sent")
    assert [record.getMessage() for record, _ in taken] == ["taken", "yes"]


def test_what_python_does_without_handlers_is_left_as_it_is(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
):
    root, out = logging.getLogger(), io.StringIO()
    last = logging.StreamHandler(out)
    last.setLevel(logging.WARNING)
    monkeypatch.setattr(logging, "lastResort", last)
    monkeypatch.setattr(root, "handlers", [])
    logging.getLogger("app").warning("nobody listens")
    assert out.getvalue() == "nobody listens\n"
    logging.basicConfig(stream=out, format="%(message)s, basically")
    logging.getLogger("app").warning("somebody does")
    assert out.getvalue().endswith("somebody does, basically\n")
    assert len(taken) == 2


def test_detached_it_is_as_it_was(logger: logging.Logger):
    before = logging.Logger.callHandlers
    found: Taken = []

    def take(record: logging.LogRecord, where: Place) -> None:
        found.append((record, where))

    hook.attach(logging.INFO, take)
    assert logging.Logger.callHandlers is not before
    hook.detach(take)
    hook.detach(take)
    assert logging.Logger.callHandlers is before
    logger.error("gone")
    assert found == []


def test_where_somebody_else_stands_in_front_it_stays_and_does_nothing(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
):
    found: Taken = []
    seen: list[str] = []

    def take(record: logging.LogRecord, where: Place) -> None:
        found.append((record, where))

    hook.attach(logging.INFO, take)
    ours = logging.Logger.callHandlers

    def theirs(of: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        ours(of, record)

    with monkeypatch.context() as patched:
        patched.setattr(logging.Logger, "callHandlers", theirs)
        hook.detach(take)
        logger.error("one")
        hook.attach(logging.INFO, take)
        logger.error("two")
    assert seen == ["one", "two"]
    assert [record.getMessage() for record, _ in found] == ["two"]
    hook.detach(take)
    assert logging.Logger.callHandlers is not ours


def test_without_a_follower_a_job_costs_nothing_more(captured: Captured):
    from spanrun.telemetry.logs.place import placed  # noqa: PLC0415

    def opens(job: Any) -> Any:
        raise NotImplementedError

    assert placed(opens, Any) is opens  # type: ignore[arg-type]
