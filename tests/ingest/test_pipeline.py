"""`Pipeline`: some fail alone, few wait in memory, and nothing is left behind."""

import asyncio
import itertools
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.ingest.doubles import (
    LengthEmbedder,
    Lines,
    MemoryStore,
    document,
    documents,
)
from tests.waiting import PATIENCE

from spanrun.errors import ConfigurationError, StoreError
from spanrun.ingest.documents import Document, Skipped
from spanrun.ingest.pipeline import Pipeline, Report
from spanrun.ingest.stages import Embed, Split, Store, Summary, Title, parallel
from spanrun.telemetry.observe import RunInfo
from spanrun.testing import Captured, no_leaks


async def ingest(
    texts: Sequence[Document],
    store: MemoryStore,
    *,
    split: Any = None,
    extract: Any = None,
    embedder: LengthEmbedder | None = None,
    **options: Any,
) -> Report:
    async with embedder or LengthEmbedder() as opened:
        stages = [split or Lines(), *([extract] if extract else [])]
        pipeline = Pipeline([*stages, Embed(opened), Store(store)])
        return await pipeline.arun(texts, **options)


async def test_a_document_has_all_its_fields_in_the_store() -> None:
    store = MemoryStore()
    text = "# Sailing\n\nBoats move by the wind. A sail is a wing that stands up."
    report = await ingest(
        [document("a", text)],
        store,
        split=Split(),
        extract=parallel(Title(), Summary()),
    )
    assert (report.stored, report.chunks, report.failures) == (1, 1, [])
    assert report.seconds > 0
    kept = store.kept["a"]
    assert kept["source"] == "/a"
    assert kept["title"] == "Sailing"
    assert kept["summary"].startswith("Boats move by the wind.")
    assert [(chunk.text, chunk.vector) for chunk in kept["chunks"]] == [
        (text, [float(len(text))])
    ]


async def test_each_chunk_gets_its_own_vector_across_batches() -> None:
    store = MemoryStore()
    texts = [
        document(f"d{n}", "\n".join("x" * k for k in range(1, n + 2))) for n in range(9)
    ]
    report = await ingest(texts, store)
    assert (report.stored, report.chunks) == (9, 45)
    for n in range(9):
        chunks = store.kept[f"d{n}"]["chunks"]
        assert [chunk.index for chunk in chunks] == [*range(n + 1)]
        assert all(chunk.vector == [float(len(chunk.text))] for chunk in chunks)


async def test_nothing_is_done_twice() -> None:
    store, split, embedder = MemoryStore(), Lines(), LengthEmbedder()
    await ingest(documents(5), store)
    report = await ingest(documents(5), store, split=split, embedder=embedder)
    assert (report.stored, report.unchanged, report.chunks) == (0, 5, 0)
    assert (store.upserts, split.seen, embedder.requests) == (5, [], [])


async def test_only_what_changed_is_done() -> None:
    store, split = MemoryStore(), Lines()
    await ingest(documents(3), store)
    changed = [*documents(2), document("d2", "new")]
    report = await ingest(changed, store, split=split)
    assert (report.stored, report.unchanged) == (1, 2)
    assert split.seen == ["d2"]
    assert [chunk.text for chunk in store.kept["d2"]["chunks"]] == ["new"]


async def test_no_documents_are_no_work() -> None:
    report = await ingest([], MemoryStore())
    assert (report.stored, report.unchanged, report.failures) == (0, 0, [])


async def test_a_document_without_chunks_gets_through() -> None:
    store = MemoryStore()
    texts = [document("a", "one"), document("empty", ""), document("b", "two")]
    report = await ingest(texts, store)
    assert (report.stored, report.chunks) == (3, 2)
    assert store.kept["empty"]["chunks"] == ()
    assert (await ingest([document("none", "")], store)).stored == 1


class Failing:
    """Fails on one document."""

    def __init__(self, name: str, document_id: str) -> None:
        self.name = name
        self.document_id = document_id

    async def __call__(self, each: Document) -> dict[str, Any]:
        if each.id == self.document_id:
            raise KeyError(self.name)
        return {}


@pytest.mark.parametrize("stage", ["split", "extract", "embed", "store"])
async def test_a_failure_costs_its_document(stage: str) -> None:
    store = MemoryStore()
    texts = documents(20)
    if stage == "embed":
        texts[7] = document("d7", "good\nbad\ngood")

    async def refuse(document_id: str) -> None:
        if document_id == "d7":
            raise StoreError("no")

    if stage == "store":
        store.on_upsert = refuse
    report = await ingest(
        texts,
        store,
        split=parallel(Lines(), Failing("x", "d7"), name="split")
        if stage == "split"
        else None,
        extract=Failing("extract", "d7") if stage == "extract" else None,
    )
    (failure,) = report.failures
    assert (failure.document_id, failure.stage) == ("d7", stage)
    kinds = {"embed": ValueError, "store": StoreError}
    assert type(failure.error) is kinds.get(stage, KeyError)
    assert report.stored == 19
    assert store.kept.keys() == {f"d{n}" for n in range(20)} - {"d7"}


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(2_000):
        await asyncio.sleep(0)


async def test_a_slow_store_holds_the_other_stages_back() -> None:
    store, split, embedder = MemoryStore(), Lines(), LengthEmbedder(batch=4, limit=2)
    gate = asyncio.Event()

    async def wait(_: str) -> None:
        await gate.wait()

    store.on_upsert = wait
    run = asyncio.create_task(
        ingest(documents(1_000), store, split=split, embedder=embedder, num_workers=2)
    )
    await settle()
    # In the store: 4 that are written, and 4 outcomes at most. In embed: 2 batches
    # of 4 that run, as many that are done, and one that is filled. In split: 2 and 2.
    assert len(split.seen) <= 8 + 5 * 4 + 4
    before = len(split.seen)
    await settle()
    assert len(split.seen) == before
    gate.set()
    assert (await run).stored == 1_000


async def test_a_cancellation_leaves_nothing(spanrun_capture: Captured) -> None:
    store = MemoryStore()
    never = asyncio.Event()

    async def wait(document_id: str) -> None:
        if document_id == "d30":
            await never.wait()

    store.on_upsert = wait
    async with no_leaks():
        run = asyncio.create_task(ingest(documents(500), store))
        await settle()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        kept = dict(store.kept)
        await settle()
    assert store.kept == kept
    assert 0 < len(kept) < 500
    assert not spanrun_capture.unfinished()
    assert spanrun_capture.span("run ingest").status == "UNSET"


@pytest.mark.parametrize("blocked", [True, False])
async def test_a_cancelled_run_has_waited_for_all_of_its_jobs(*, blocked: bool) -> None:
    class Lingering(Lines):
        began = ended = 0

        async def __call__(self, each: Document) -> dict[str, Any]:
            if each.id in ("d0", "d1", "d2", "d3"):
                return await super().__call__(each)
            self.began += 1
            try:
                return await asyncio.Event().wait() or {}
            finally:
                for _ in range(20):
                    await asyncio.sleep(0)
                self.ended += 1

    class Blocked(LengthEmbedder):
        async def embed(self, texts: list[str]) -> list[list[float]]:
            if blocked:  # then the stage before it isn't asked for more
                await asyncio.Event().wait()
            return await super().embed(texts)

    split, embedder = Lingering(), Blocked(batch=1, limit=1)
    run = asyncio.create_task(
        ingest(documents(20), MemoryStore(), split=split, embedder=embedder)
    )
    await settle()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert split.ended == split.began == 4


@pytest.mark.parametrize("after", range(0, 60, 3))
async def test_a_cancellation_at_any_time_leaves_nothing(
    spanrun_capture: Captured, after: int
) -> None:
    async with no_leaks():
        run = asyncio.create_task(ingest(documents(12, lines=3), MemoryStore()))
        for _ in range(after):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run], timeout=PATIENCE)
    assert run.done()
    assert not spanrun_capture.unfinished()


async def test_what_breaks_the_whole_run_is_raised(spanrun_capture: Captured) -> None:
    class Broken(MemoryStore):
        async def content_hashes(self) -> dict[str, str]:
            raise StoreError("damaged")

    async with no_leaks():
        with pytest.raises(StoreError, match="damaged"):
            await ingest(documents(3), Broken())
    assert spanrun_capture.span("run ingest").status == "ERROR"


async def test_an_embedder_must_be_open() -> None:
    pipeline = Pipeline([Lines(), Embed(LengthEmbedder()), Store(MemoryStore())])
    async with no_leaks():
        with pytest.raises(ConfigurationError, match="not open yet"):
            await pipeline.arun(documents(3))


async def test_one_trace_holds_the_run(spanrun_capture: Captured) -> None:
    report = await ingest(documents(9), MemoryStore())
    root = spanrun_capture.span("run ingest")
    assert root.trace_id == report.trace_id
    assert {span.trace_id for span in spanrun_capture.spans} == {root.trace_id}
    names = Counter(span.name for span in spanrun_capture.spans)
    assert names["job split"] == names["job store"] == 9
    runs = {span.name for span in spanrun_capture.children(root)}
    assert runs == {"run split", "run embed", "run store"}


async def test_the_jobs_of_a_large_run_have_traces_of_their_own(
    spanrun_capture: Captured,
) -> None:
    await ingest(documents(1_001), MemoryStore(), embedder=LengthEmbedder(batch=64))
    jobs = spanrun_capture.find("job split")
    assert len({job.trace_id for job in jobs}) == 1_001
    run = spanrun_capture.span("run split")
    assert all(job.links == ((run.trace_id, run.span_id),) for job in jobs)


class Heard:
    """What an observer is told."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.jobs: Counter[str] = Counter()

    def run_opened(self, run: RunInfo) -> None:
        self.totals[run.runner] = run.total

    def job_ended(self, run: RunInfo, outcome: Any) -> None:
        self.jobs[run.runner] += 1

    def run_closed(self, run: RunInfo) -> None:
        pass


async def test_observers_are_told_how_much_there_is_to_do() -> None:
    heard = Heard()
    await ingest(documents(6), MemoryStore(), observers=[heard])
    assert heard.totals["split"] == heard.totals["store"] == 6
    assert heard.jobs["split"] == heard.jobs["store"] == 6


def test_it_runs_without_a_loop() -> None:
    store = MemoryStore()
    report = Pipeline([Lines(), Store(store)]).run(documents(3), num_workers=1)
    assert report.stored == 3
    assert store.kept.keys() == {"d0", "d1", "d2"}


class Crowd(Lines):
    """Knows how many documents it had at once."""

    def __init__(self, name: str = "split") -> None:
        super().__init__()
        self.name = name
        self.now = self.most = 0

    async def __call__(self, each: Document) -> dict[str, Any]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(20):
                await asyncio.sleep(0)
            return await super().__call__(each)
        finally:
            self.now -= 1


@pytest.mark.parametrize(
    ("workers", "most"), [(1, 1), (7, 7), ({"split": 2}, 2), ({"store": 1}, 4), ({}, 4)]
)
async def test_each_stage_has_its_number_of_workers(workers: Any, most: int) -> None:
    crowd = Crowd()
    await ingest(documents(40), MemoryStore(), split=crowd, num_workers=workers)
    assert crowd.most == most


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        (0, "num_workers=0"),
        ({"split": 0}, "num_workers"),
        ({"spilt": 2}, "'spilt': …}): names none of 'split', 'store'"),
        ({"embed": 2}, "names none of"),
    ],
)
async def test_wrong_numbers_of_workers_are_named(workers: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        await ingest(documents(1), MemoryStore(), num_workers=workers)


async def test_a_text_is_done_anew_when_its_stages_change() -> None:
    store = MemoryStore()
    texts = [document("a", "One sentence. Another sentence. A third one.")]
    assert (await ingest(texts, store, split=Split(size=50, overlap=0))).chunks == 1
    report = await ingest(texts, store, split=Split(size=5, overlap=0))
    assert (report.stored, report.chunks) == (1, 3)
    report = await ingest(texts, store, split=Split(size=5, overlap=0))
    assert (report.stored, report.unchanged) == (0, 1)
    report = await ingest(
        texts, store, split=Split(size=5, overlap=0), extract=parallel(Title())
    )
    assert report.stored == 1
    assert store.kept["a"]["title"] == "One sentence"


async def test_a_document_that_is_there_twice_is_done_once() -> None:
    store, split = MemoryStore(), Lines()
    report = await ingest([*documents(3), *documents(3)], store, split=split)
    assert (report.stored, report.unchanged, report.failures) == (3, 3, [])
    assert split.seen == ["d0", "d1", "d2"]


async def test_two_texts_under_one_id_are_the_second_ones_failure() -> None:
    store = MemoryStore()
    texts = [document("a", "one"), document("a", "two"), document("b", "three")]
    report = await ingest(texts, store)
    assert report.stored == 2
    (failure,) = report.failures
    assert failure.document_id == "a"
    assert "a second document has the id 'a'" in str(failure.error)
    assert [chunk.text for chunk in store.kept["a"]["chunks"]] == ["one"]


async def test_a_document_must_be_in_every_store_to_be_left_alone() -> None:
    first, second = MemoryStore(), MemoryStore()
    await Pipeline([Lines(), Store(first)]).arun(documents(2))
    both = Pipeline([Lines(), Store(first), Store(second, name="second")])
    assert (await both.arun(documents(3))).stored == 3
    assert first.kept.keys() == second.kept.keys() == {"d0", "d1", "d2"}
    assert (await both.arun(documents(3))).unchanged == 3


async def test_two_stores_have_names_and_workers_of_their_own(
    spanrun_capture: Captured,
) -> None:
    stores = [Store(MemoryStore()), Store(MemoryStore(), name="second")]
    await Pipeline([Lines(), *stores]).arun(documents(2), num_workers={"second": 1})
    assert len(spanrun_capture.find("job store")) == 2
    assert len(spanrun_capture.find("job second")) == 2


async def test_one_pipeline_may_run_twice_at_once() -> None:
    store = MemoryStore()
    async with LengthEmbedder() as embedder:
        pipeline = Pipeline([Lines(), Embed(embedder), Store(store)])
        reports = await asyncio.gather(
            pipeline.arun([document("a", "good"), document("x", "bad")]),
            pipeline.arun([document("b", "good\ngood")]),
        )
    assert [report.stored for report in reports] == [1, 1]
    assert [len(report.failures) for report in reports] == [1, 0]
    assert [report.chunks for report in reports] == [1, 2]


async def endless(pulled: list[int], *, stop: int | None = None) -> Any:
    for n in itertools.count():
        if n == stop:
            return
        pulled.append(n)
        yield document(f"d{n}", f"text {n}")


async def test_an_endless_source_is_pulled_as_fast_as_its_documents_are_stored() -> (
    None
):
    store, pulled = MemoryStore(), list[int]()
    gate = asyncio.Event()

    async def wait(document_id: str) -> None:
        if document_id == "d100":
            await gate.wait()

    store.on_upsert = wait
    async with no_leaks():
        run = asyncio.create_task(ingest(endless(pulled), store))  # type: ignore[arg-type]
        while len(store.kept) < 100:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
        assert len(pulled) < 100 + 100
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


@pytest.mark.parametrize("kind", ["async", "iterator"])
async def test_documents_may_come_one_by_one(
    spanrun_capture: Captured, kind: str
) -> None:
    store = MemoryStore()
    source: Any = endless([], stop=9) if kind == "async" else iter(documents(9))
    report = await ingest(source, store)
    assert (report.stored, len(store.kept)) == (9, 9)
    root = spanrun_capture.span("run ingest")
    assert "spanrun.run.total" not in root.attributes
    again: Any = endless([], stop=9) if kind == "async" else iter(documents(9))
    assert (await ingest(again, store)).unchanged == 9


async def test_a_source_that_breaks_ends_the_run() -> None:
    async def broken() -> Any:
        yield document("a", "one")
        raise KeyError("source")

    store = MemoryStore()
    async with no_leaks():
        with pytest.raises(KeyError, match="source"):
            await ingest(broken(), store)  # type: ignore[arg-type]


async def test_the_texts_of_a_source_do_not_stay_in_memory() -> None:
    """What is kept of each is its id and hash: 50 MB of texts take 2 MB."""
    store = MemoryStore()

    def source() -> Iterator[Document]:
        for n in range(5_000):
            store.kept.clear()
            yield document(f"d{n}", f"{n}" + "x" * 10_000)

    tracemalloc.start()
    try:
        report = await Pipeline([Lines(), Store(store)]).arun(source())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.stored == 5_000
    assert peak < 5_000_000


async def test_progress_is_shown_when_it_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await ingest(documents(3), MemoryStore())
    assert capsys.readouterr().err == ""
    await ingest(documents(4), MemoryStore(), show_progress=True)
    assert "store: 4/4" in capsys.readouterr().err


async def test_what_read_documents_has_skipped_is_no_document() -> None:
    skipped = Skipped("a.bin", "binary", "binary")
    with pytest.raises(
        ConfigurationError, match="leave out what read_documents has Skipped"
    ):
        await ingest([skipped], MemoryStore())  # type: ignore[list-item]
