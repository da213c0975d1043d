"""A unit's parent is the innermost unit around it that is open."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace import INVALID_SPAN, get_current_span
from tests.telemetry.units.recording import Recording, id_of, parent_of
from tests.waiting import turns

import spanrun as sr


@pytest.fixture(autouse=True)
def _nothing_is_current_before_and_after() -> Iterator[None]:
    token = otel_context.attach(otel_context.Context())
    assert get_current_span() is INVALID_SPAN
    yield
    otel_context.detach(token)


async def items(count: int = 3) -> AsyncIterator[int]:
    with sr.unit("in generator"):
        for number in range(count):
            yield number


def test_a_generator_that_was_left_leaves_no_parent_behind(
    recording: Recording,
) -> None:
    async def main() -> None:
        async for _ in items():
            break
        await turns()  # in which the loop closes the generator
        with sr.unit("next"):
            pass

    recording.run(main)
    assert recording.one("next").parent is None


def test_below_a_unit_what_follows_a_left_generator_is_a_sibling(
    recording: Recording,
) -> None:
    async def main() -> None:
        with sr.unit("around"):
            async for _ in items():
                break
            await turns()  # in which the loop closes the generator
            with sr.unit("next"):
                pass

    recording.run(main)
    around = id_of(recording.one("around"))
    assert parent_of(recording.one("next")) == around
    assert parent_of(recording.one("in generator")) == around


def test_sixty_in_a_loop_are_all_right(recording: Recording) -> None:
    async def main() -> None:
        with sr.unit("around"):
            for _ in range(60):
                async for _ in items():
                    break
                await turns()  # in which the loop closes the generator
                with sr.unit("next"):
                    pass

    recording.run(main)
    around = id_of(recording.one("around"))
    following = recording.named("next")
    assert len(following) == 60
    assert {parent_of(span) for span in following} == {around}
    assert {parent_of(span) for span in recording.named("in generator")} == {around}


def test_while_the_generator_runs_its_unit_is_the_parent(recording: Recording) -> None:
    async def main() -> None:
        async for _ in items(1):
            with sr.unit("inside"):
                pass

    recording.run(main)
    inside = recording.one("inside")
    assert parent_of(inside) == id_of(recording.one("in generator"))


def test_two_that_end_in_the_order_in_which_they_began(recording: Recording) -> None:
    async def main() -> None:
        first, second = items(), items()
        await anext(first)
        await anext(second)
        await first.aclose()  # type: ignore[attr-defined]
        await second.aclose()  # type: ignore[attr-defined]
        with sr.unit("next"):
            pass

    recording.run(main)
    assert recording.one("next").parent is None


def test_spans_of_other_libraries_stand_between_units(recording: Recording) -> None:
    tracer = recording.tracers.get_tracer("library")

    async def main() -> None:
        with sr.unit("outer"), tracer.start_as_current_span("theirs"), sr.unit("inner"):
            pass

    recording.run(main)
    theirs = recording.one("theirs")
    assert parent_of(recording.one("inner")) == id_of(theirs)
    assert parent_of(theirs) == id_of(recording.one("outer"))


@pytest.mark.parametrize("trace", ["child", "linked"])
def test_the_tree_of_a_run(recording: Recording, trace: str) -> None:
    tried: set[int] = set()

    async def job(number: int) -> None:
        with sr.unit("parse"):
            await asyncio.sleep(1)
        if number == 1 and number not in tried:
            tried.add(number)
            raise LookupError

    async def main() -> None:
        retry = sr.Retry(on=LookupError, attempts=2, base=1)
        async with sr.Runner("a", clock=recording.clock, retry=retry) as runner:
            await runner.map(job, range(2), trace=trace)

    recording.run(main)
    run = recording.one("run a")
    jobs = recording.named("job a")
    attempts = recording.named("attempt a")
    assert (len(jobs), len(attempts), len(recording.named("parse"))) == (2, 3, 3)
    assert run.parent is None
    for job_span in jobs:
        if trace == "child":
            assert parent_of(job_span) == id_of(run)
        else:
            assert job_span.parent is None
            assert [link.context.span_id for link in job_span.links] == [id_of(run)]
    assert {parent_of(span) for span in attempts} == {id_of(span) for span in jobs}
    parents = {parent_of(span) for span in recording.named("parse")}
    assert parents == {id_of(span) for span in attempts}
