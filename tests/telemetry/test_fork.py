"""A forked child is another instance: other ids, counts from zero, and all arrives."""

import ast
import inspect
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from tests.telemetry.export.receiver import receiving
from tests.telemetry.test_variables import Arrived, grpc_receiving

from spanrun import semconv
from spanrun.telemetry import setup, span_pipe
from spanrun.telemetry.queue.queued_exporter import QueuedExporter

pytestmark = [
    pytest.mark.slow,
    # From 3.12 on Python warns of each fork with threads; what can go wrong is tested.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

BEFORE = """
import multiprocessing, os, time, warnings
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
from opentelemetry import metrics, trace
from spanrun.telemetry import setup

sr.configure(endpoint=URL, store=STORE)
theirs = metrics.get_meter("theirs").create_counter("theirs")

def some(number, name):
    theirs.add(number)
    with trace.get_tracer("theirs").start_as_current_span(f"theirs {name}"): pass
    async def main():
        async with sr.Runner(name, limit=4) as runner:
            await runner.map(double, range(number))
    asyncio.run(main())

some(100, "parent")
"""

MULTIPROCESSING = """
context = multiprocessing.get_context("fork")
children = [context.Process(target=some, args=(7, f"child {n}")) for n in range(3)]
[child.start() for child in children]
some(10, "parent")
[child.join() for child in children]
print([child.exitcode for child in children])
assert sr.shutdown()
"""

OS_FORK = """
def child(number):
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        some(7, f"child {number}")
        code = 0 if sr.shutdown() else 2
    finally:
        os._exit(code)
codes = [os.waitpid(pid, 0)[1] for pid in [child(n) for n in range(3)]]
some(10, "parent")
print(codes)
assert sr.shutdown()
"""

POOL = """
from concurrent.futures import ProcessPoolExecutor
context = multiprocessing.get_context("fork")
with ProcessPoolExecutor(3, mp_context=context) as pool:
    barrier = [pool.submit(some, 7, f"child {n}") for n in range(3)]
    [each.result() for each in barrier]
some(10, "parent")
print([0, 0, 0])
assert sr.shutdown()
"""

GRANDCHILD = """
context = multiprocessing.get_context("fork")
def generation(depth):
    some(7, f"child {depth}")
    if depth < 2:
        process = context.Process(target=generation, args=(depth + 1,))
        process.start()
        process.join()
        assert process.exitcode == 0
process = context.Process(target=generation, args=(0,))
process.start()
process.join()
some(10, "parent")
print([process.exitcode, 0, 0])
assert sr.shutdown()
"""


def of_instances(arrived):
    """By instance: the names of its spans, and the newest value of each sum."""
    names = defaultdict(Counter)
    for request in arrived.traces:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                names[instance(resource)].update(span.name for span in scope.spans)
    sums = defaultdict(dict)
    for request in arrived.metrics:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points:
                        labels = tuple(
                            sorted(
                                (a.key, a.value.string_value) for a in point.attributes
                            )
                        )
                        value = point.as_int or point.as_double
                        sums[instance(resource)][metric.name, labels] = value
    return names, sums


def instance(resource):
    return next(
        pair.value.string_value
        for pair in resource.resource.attributes
        if pair.key == semconv.SERVICE_INSTANCE_ID
    )


def jobs(sums):
    """By runner."""
    found = Counter()
    for (name, labels), value in sums.items():
        if name == semconv.METRIC_SPANRUN_JOBS.name:
            found[dict(labels)[semconv.SPANRUN_RUNNER_NAME]] += int(value)
    return +found


@pytest.mark.parametrize("store", ["none", ".spanrun"])
@pytest.mark.parametrize(
    "way",
    [MULTIPROCESSING, OS_FORK, POOL, GRANDCHILD],
    ids=["multiprocessing", "os.fork", "pool", "grandchild"],
)
def test_children_are_others_and_lose_nothing(run_program, way, store):
    with receiving() as receiver:
        program = f"URL, STORE = {receiver.url!r}, {store!r}\n" + BEFORE + way
        done = run_program(program)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == "[0, 0, 0]"
    check(Arrived(receiver.requests))


def test_children_lose_nothing_over_grpc_either(run_program):
    with grpc_receiving() as (address, requests):
        program = f"URL, STORE = 'http://{address}', 'none'\n" + BEFORE
        # A parent that has a channel open when it forks.
        program += "assert setup.telemetry().flush(60)\n" + MULTIPROCESSING
        done = run_program(program, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert (done.code, done.out.strip()) == (0, "[0, 0, 0]")
    check(Arrived(requests))


def check(arrived):
    names, sums = of_instances(arrived)
    ids = Counter(span.span_id for span in arrived.spans())
    assert max(ids.values()) == 1
    traces = {span.name: span.trace_id for span in arrived.spans()}
    # Each instance of the spans is one of the metrics. The reverse not always: a
    # worker of a pool may find nothing to do.
    assert set(names) <= set(sums)
    parents = [key for key, counted in names.items() if counted["job parent"]]
    assert len(parents) == 1
    parent = parents[0]
    assert names[parent]["job parent"] == 110
    assert jobs(sums[parent]) == {"parent": 110}
    assert sums[parent]["theirs", ()] == 110
    children = {}
    for key in set(sums) - {parent}:
        told = jobs(sums[key])
        children.update(told)
        assert sums[key].get(("theirs", ()), 0) == 7 * len(told)
        for name, count in told.items():
            assert names[key][f"job {name}"] == count == 7
            assert names[key][f"theirs {name}"] == 1
        # Nothing of the parent's is told once more.
        assert not [name for name in names[key] if "parent" in name]
    assert children == {f"child {n}": 7 for n in range(3)}
    assert len({traces[f"run child {n}"] for n in range(3)}) == 3


def test_a_child_that_is_killed_loses_what_is_in_memory_alone(run_program):
    way = """
def is_out():
    spans = setup.telemetry().status().signals["traces"]
    return spans.delivered + spans.on_disk == 9

pid = os.fork()
if not pid:
    some(7, "child 0")
    while not is_out():
        time.sleep(0.01)
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
telemetry = setup.telemetry()
assert telemetry._pipeline._spooled.flush(5, recovered=True)
print(sr.shutdown())
"""
    with receiving() as receiver:
        program = f"URL, STORE = {receiver.url!r}, 'none'\n" + BEFORE + way
        done = run_program(program)
    assert (done.code, done.err, done.out.strip()) == (0, "", "True")
    names = Counter(span.name for span in Arrived(receiver.requests).spans())
    assert names["job child 0"] == 7
    assert names["job parent"] == 100


def test_the_page_says_for_how_long_a_span_is_in_memory():
    page = Path("docs/how-to/processes-that-fork.md").read_text()
    linger = inspect.signature(QueuedExporter).parameters["linger"].default
    assert f"**{span_pipe._DELAY} s** after it ended" in page
    assert f"**{linger} s** later" in page


def test_forks_amid_everything_never_hang(run_program):
    """Threads record, collect and export while the process forks, many times."""
    way = """
import threading
stop = threading.Event()
def record():
    tracer = trace.get_tracer("busy")
    while not stop.is_set():
        theirs.add(1)
        with tracer.start_as_current_span("busy"): pass
        setup.recorder()._instruments.snapshot()
threads = [threading.Thread(target=record) for _ in range(2)]
[thread.start() for thread in threads]
context = multiprocessing.get_context("fork")
codes = []
for number in range(15):
    child = context.Process(target=some, args=(3, "child"))
    child.start()
    child.join()
    codes.append(child.exitcode)
stop.set()
[thread.join() for thread in threads]
print(set(codes))
sr.shutdown()
"""
    with receiving() as receiver:
        program = f"URL, STORE = {receiver.url!r}, 'none'\n" + BEFORE + way
        done = run_program(program)
    assert (done.code, done.out.strip()) == (0, "{0}")
    # More metrics are made here than leave. What is given up is said; nothing else is.
    for line in done.err.splitlines():
        assert line.endswith(" data points (queue_full)"), done.err
    names = Counter(span.name for span in Arrived(receiver.requests).spans())
    assert names["job child"] == 45


BY_CONFIGURE = {"setup.py", "exporters.py", "tls.py"}
"""Their functions import in the thread of the user's that calls `configure`."""


def test_no_process_is_forked_amid_an_import_in_a_thread_of_ours():
    unguarded = []
    for path in Path(setup.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        guarded = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.With)
            and any("no_fork" in ast.unparse(item) for item in block.items)
            for node in ast.walk(block)
        }
        unguarded += [
            f"{path.name}:{node.lineno}"
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
            and id(node) not in guarded
            and path.name not in BY_CONFIGURE
        ]
    assert not unguarded
