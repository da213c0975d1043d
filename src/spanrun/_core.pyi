"""The compiled part of spanrun (Rust, in `rust/`); each class has a fallback."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceState,
)

def random_bits(size: int) -> int:
    """Draw ``size`` (64 or 128) random bits; never 0, and anew after a fork."""

def reseed() -> None:
    """Draw from another seed from now on, as a forked child must."""

class Batch:
    """Ended spans of one scope, taken out of a `Buffer`.

    Attributes:
        scope: Whose spans these are.
        data: The spans, each as a field ``spans`` of OTLP's ``ScopeSpans``.
        headers: For each span 32 bytes: ``<16sQIB3x``, its trace id, its duration in
            nanoseconds, its length in ``data``, and flags (see `ERROR` and so on).
        spans: How many.
        failed: All of them have the status ERROR; else none has.
    """

    scope: Final[Scope]
    data: Final[bytes]
    headers: Final[bytes]
    spans: Final[int]
    failed: Final[bool]

ERROR: Final = 1
RETRIED: Final = 2
SLOW: Final = 4
EXEMPLAR: Final = 8
ROOT: Final = 16  # a local root

class Buffer:
    """Collects the encoded spans of one scope until they are taken.

    Safe to use from any thread; no lock is held while ``begun`` or ``full`` runs.

    Args:
        begun: Called with the buffer when the first span comes into an empty one.
        full: Called with the buffer, on the thread that ended a span, when more
            than ``most`` bytes wait.
        most: Bytes that may wait.
    """

    def __init__(
        self,
        begun: Callable[[Buffer], object],
        full: Callable[[Buffer], object],
        most: int,
    ) -> None: ...
    @property
    def waiting(self) -> int:
        """Spans that wait."""
    def take(self, *, for_room: bool = False) -> list[Batch]:
        """Take what waits: the failed spans, and the others.

        Where that is ``for_room``, only those of the two that are too many.
        """
    def after_fork(self) -> None:
        """In a child process: what waits is its parent's, and nobody is in ``full``."""

RUN: Final = 1
JOB: Final = 2

class Tail:
    """Decides which traces that weren't drawn are kept, when their topmost span ends.

    Below a span that is a `RUN`, each `JOB` is decided on by itself. What is kept keeps
    the spans above it up to the root, and the run that it is anchored as.

    Args:
        slow: Seconds from which a topmost span is slow; None: only above the running
            p99 of those with its name.
        sampled_out: Told how many spans were left out, and the reason for which they
            would have been kept had its budget not been used up, or ``"none"``.
        max_spans: So many may wait, in all; beyond, the oldest trace is given up.
        reason_key: The attribute in which a kept topmost span says why.
        reasons: How many traces a second are kept for each reason, but as exemplars,
            and how many at once.
        runs: How many runs a second are kept as such, and how many at once.
    """

    def __init__(
        self,
        slow: float | None,
        sampled_out: Callable[[int, Any], object],
        max_spans: int,
        reason_key: str,
        reasons: tuple[float, float],
        runs: tuple[float, float],
    ) -> None: ...
    def close(self) -> None:
        """Leave out what waits and, from now on, what has no reason to be kept."""
    def after_fork(self) -> None:
        """Forget what waits: it is the parent's."""

class Scope:
    """What the spans of one tracer share.

    Args:
        owner: The tracer's own, for views: it has ``resource`` and ``instrumentation``.
        now: The monotonic clock, in seconds.
        anchor: Gives the nanoseconds since the Unix epoch at ``now() == 0``.
        limits: Of attributes, events, links, attributes of an event, of a link (None:
            no limit), then the characters of a span's value, and of an inner value.
        clean: Makes plain any value that isn't exactly str, bool, int, float, bytes
            or None (see `spanrun.telemetry.span.plain.clean`).
        view: Makes the SDK's ``ReadableSpan`` of a span.
        failed: Told of each exception that is raised inside and goes no further.
        too_late: Told the method and the name, when a span that ended is written to.

    Attributes:
        buffer: Where the spans of drawn traces go; None: nowhere.
        tail: Decides on the others; None: they go nowhere.
        on_start: Called with each span and its parent context; or None.
        on_end: Called with the view of each span that ended; or None.
        follow: Spans below a span of ours are recorded, and inherit all from it.
        threshold: A new trace is drawn when the last 56 bits of its id reach this;
            None: `ask` is called for roots.
        root: Flags and tracestate of a new trace that is drawn, and of one that isn't.
        bits: Draws ids as `random_bits` does; None: `random_bits` itself.
        ask: Called for what isn't decided here, with the arguments of `start`; it
            returns the span, which it made by `make` or otherwise.
    """

    owner: Any
    buffer: Buffer | None
    tail: Tail | None
    on_start: Callable[[Span, Context | None], object] | None
    on_end: Callable[[Any], object] | None
    follow: bool
    threshold: int | None
    root: tuple[tuple[int, TraceState], tuple[int, TraceState]]
    bits: Callable[[int], int] | None
    ask: Callable[..., Any]

    def __init__(
        self,
        owner: Any,
        now: Callable[[], float],
        anchor: Callable[[], int],
        limits: tuple[
            int | None, int | None, int | None, int | None, int | None, int, int
        ],
        clean: Callable[[Any, int], Any],
        view: Callable[[Span], Any],
        failed: Callable[[Exception], object],
        too_late: Callable[[str, str], object],
    ) -> None: ...
    def start(
        self,
        name: str,
        kind: int,
        context: Context,
        begun: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        *,
        start_ns: int | None = None,
        anchored: Span | None = None,
        role: int = 0,
    ) -> Any:
        """Start a span below the one in ``context``, or a trace.

        ``kind`` is ``SpanKind.value`` (0 is INTERNAL). ``begun`` is on the monotonic
        clock; ``start_ns``, on the wall clock, overrides it. A local root is anchored
        to the wall clock as ``anchored`` is, a run, or anew; others as their parent.
        ``role`` is `RUN`, `JOB`, or neither: see `Tail`.
        """
    def make(
        self,
        name: str,
        kind: int,
        trace_id: int,
        parent: Span | SpanContext | None,
        flags: int,
        state: TraceState,
        begun: float | None,
        attributes: Mapping[str, Any] | None,
        links: Sequence[Link],
        *,
        start_ns: int | None = None,
        context: Context | None = None,
        anchored: Span | None = None,
        role: int = 0,
    ) -> Span:
        """Start a span on which the caller has decided. ``flags``: W3C trace flags."""
    def disown(self) -> None:
        """End the spans that are open now nowhere: they are another process's."""

class Span:
    """One span: open, and then bytes. OpenTelemetry's API, and what units need.

    Values are cleaned, bounded and redacted when they are set. All methods may be
    called from any thread and change nothing after the end. Where a processor looks for
    what the SDK's ``ReadableSpan`` has (``attributes``, ``events``, ``resource`` …), it
    finds that of ``scope.view(self)``.
    """

    @property
    def scope(self) -> Scope: ...
    @property
    def otel(self) -> Self:
        """Itself: what a context has as the current span."""
    def inside(self, outside: Context, attempt: int | None = None) -> Context:
        """Return a context in which this is the current span, within ``outside``.

        With ``attempt`` it also has the number of a job's attempt.
        """
    @property
    def name(self) -> str: ...
    @property
    def trace_id(self) -> int: ...
    @property
    def span_id(self) -> int: ...
    @property
    def start_time(self) -> int:
        """In nanoseconds since the Unix epoch."""
    @property
    def end_time(self) -> int | None: ...
    @property
    def is_local_root(self) -> bool:
        """Nothing above it was recorded in this process."""
    @property
    def has_ended(self) -> bool: ...
    @property
    def context(self) -> SpanContext: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...
    @property
    def dropped_attributes(self) -> int: ...
    @property
    def events(self) -> Sequence[Any]: ...
    @property
    def dropped_events(self) -> int: ...
    @property
    def links(self) -> Sequence[Link]: ...
    @property
    def dropped_links(self) -> int: ...
    @property
    def status(self) -> Status: ...
    @property
    def parent(self) -> SpanContext | None: ...
    @property
    def kind(self) -> SpanKind: ...
    @property
    def resource(self) -> Any: ...
    @property
    def instrumentation_scope(self) -> Any: ...
    @property
    def instrumentation_info(self) -> Any: ...
    @property
    def to_json(self) -> Callable[..., str]: ...
    def get_span_context(self) -> SpanContext: ...
    def is_recording(self) -> bool: ...
    def wall_ns(self, moment: float) -> int:
        """A reading of the monotonic clock in nanoseconds since the Unix epoch."""
    def set_attribute(self, key: str, value: Any) -> None: ...
    def set_attributes(self, attributes: Mapping[str, Any]) -> None: ...
    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None: ...
    def add_link(
        self, context: SpanContext, attributes: Mapping[str, Any] | None = None
    ) -> None: ...
    def update_name(self, name: str) -> None: ...
    def set_status(
        self, status: Status | StatusCode, description: str | None = None
    ) -> None: ...
    def fail(self, kind: str, text: str, stack: str | None, ended: float) -> None:
        """`OpenSpan.fail`."""
    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None: ...
    def on_exception(self, *, record: bool, status: bool) -> None:
        """Say what leaving its ``with`` block by an exception does; at first, both."""
    def mark(self, flag: int) -> None:
        """Set `RETRIED` for its trace, which is a reason to keep it."""
    def pin(self) -> bool:
        """Keep its trace for an exemplar; whether it is kept."""
    def end(self, end_time: int | None = None) -> None: ...
    def finish(self, ended: float) -> None:
        """End it, at a reading of the monotonic clock."""
    def snapshot(
        self,
    ) -> tuple[
        dict[str, Any],  # attributes
        int,  # that were dropped
        list[tuple[str, int, dict[str, Any], int]],  # events
        int,
        list[tuple[SpanContext, dict[str, Any], int]],  # links
        int,
        int,  # status code
        str | None,  # and description
        SpanContext | None,  # parent
        int,  # kind
    ]:
        """All that is recorded by now, for a view."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

class Group:
    """Series that are added to, and read, under one lock: what is read is consistent.

    The lock is never held while Python code can run.

    Args:
        pin: Asked to keep the trace of a span that isn't sampled and has no ``pin`` of
            its own; whether it does. Without it nobody is asked.
        exemplars: Whether any leave. Else no trace is kept for one.
    """

    def __init__(
        self,
        pin: Callable[[SpanContext], bool] | None = None,
        *,
        exemplars: bool = True,
    ) -> None: ...
    def read(
        self, cells: Sequence[_Cell], *, peek: bool = False
    ) -> list[tuple[Any, ...]]:
        """What some cells of the group hold, all at one moment.

        With ``peek`` there are no exemplars, and nothing begins anew.

        Of a `Sum`: its total alone. Of a `Histogram`: the counts of its buckets, the
        sum, the least and the greatest value, and the exemplars since the last
        reading, each as value, time in nanoseconds since the Unix epoch, trace id and
        span id. Of an `ExponentialHistogram`: the same behind a tuple of its scale,
        how many values were zero, and the index of the first bucket.
        """
    def after_fork(self) -> None:
        """In a child process: nobody holds the lock, whatever the parent did."""

class _Cell:
    """One series.

    Args:
        labels: Its attributes.
        group: To which it belongs.
        delta: Each reading begins it again from zero.
    """

    labels: Final[Mapping[str, Any]]

    def add(self, value: float, span: Any = None) -> None:
        """Add a measurement, made in ``span``.

        For each bucket of a histogram the first measurement since the last reading
        becomes an exemplar, of those whose trace is sampled or can be kept for it
        (``span.pin()``).
        """

class Sum(_Cell):
    """The running total of a counter or an up-down-counter; int while it can be."""

    def __init__(
        self, labels: Mapping[str, Any], group: Group, delta: bool = False
    ) -> None: ...

class Histogram(_Cell):
    """Counts in buckets with explicit bounds, which are inclusive upwards."""

    def __init__(
        self,
        labels: Mapping[str, Any],
        bounds: Sequence[float],
        group: Group,
        delta: bool = False,
    ) -> None: ...

class ExponentialHistogram(_Cell):
    """Counts in buckets whose bounds are powers of ``2 ** 2 ** -scale``.

    The scale shrinks when the values don't fit into 160 buckets. Only for values that
    aren't negative.
    """

    def __init__(
        self, labels: Mapping[str, Any], group: Group, delta: bool = False
    ) -> None: ...

class JobCells:
    """The series in which a job is counted: a reading has it in all of them, or none.

    Args:
        group: Of all the cells.
        count: How many jobs there were.
        duration: How long they took.
        phases: Where their time went.
    """

    def __init__(
        self, group: Group, count: _Cell, duration: _Cell, phases: Sequence[_Cell]
    ) -> None: ...
    def add(self, seconds: float, parts: tuple[float, ...], span: Any = None) -> None:
        """Count a job that took ``seconds``, and in each phase one of ``parts``."""

def redact(text: str, limit: int = 16_384) -> str:
    """``text`` without credentials, cut at ``limit`` characters, valid UTF-8.

    The same as `spanrun.text.redact_in_python`, which is its fallback.
    """

def is_secret_key(key: str) -> bool:
    """Whether ``key``, of an attribute, says that its value is a secret."""

class Slowness:
    """Says which durations are long: from ``allowed`` on, or above 99 % of them.

    Each is judged by those before it, and then counts itself.
    """

    def __init__(self, allowed: float | None) -> None: ...
    def is_slow(self, seconds: float) -> bool:
        """Whether ``seconds`` are long."""

class Jobs:
    """Opens the units of the jobs of one run.

    Args:
        scope: Starts their spans.
        job_name: Of a job's span.
        attempt_name: Of an attempt's span.
        runner: Its name, as an attribute of both.
        run_id: Of the run, as an attribute of a job's span.
        linked: In linked mode, the context in which jobs begin, their links, and the
            run's span; None: they begin below the current span.
        attempts: Whether each attempt has a span.
        timed: Whether jobs are timed by the scope's clock.
        cells: The metrics of jobs that succeed.
        slowness: Says which of them are slow.
        kind: The `JobKind` that they have in common.
        unit: The class in Python that does what `JobUnit` doesn't do itself.
    """

    def __init__(
        self,
        scope: Scope,
        job_name: str,
        attempt_name: str,
        runner: str,
        run_id: str,
        linked: tuple[Context, Sequence[Link], Span] | None,
        attempts: bool,
        timed: bool,
        cells: JobCells,
        slowness: Slowness,
        kind: Any,
        unit: type[Any],
    ) -> None: ...
    def open(self, job: Any) -> Any:
        """Open the unit of ``job``: a `JobUnit`, or one in Python."""

class JobUnit:
    """`spanrun.telemetry.units.job.JobUnit`, compiled."""

    index: Final[int]
    submitted: Final[float]
    told: Final[Span]
    @property
    def kind(self) -> Any: ...
    @property
    def trace_id(self) -> int: ...
    def begin_attempt(self, number: int) -> None: ...
    def end_attempt(self, number: int, error: BaseException | None) -> None: ...
    def succeed(self, timings: Any, attempts: int) -> None: ...
    def conclude(
        self,
        timings: Any,
        outcome: str,
        attempts: int,
        error: BaseException | None,
        cancelled_by: str | None,
    ) -> None: ...
    def event(self, name: str, **attributes: Any) -> None: ...
    def retried(self, error: Exception, delay: float) -> None: ...
    def hedged(self, after: float) -> None: ...

class Units:
    """Opens units of users and of calls that record into one recorder.

    Args:
        recorder: Does what few units need.
        scope: Starts their spans.
        user: The class of users' units in Python, for spans that a sampler has dropped.
        call: The same of calls.
        user_series: What adds to the durations of users' units, by their name.
        call_series: The same of calls, by `NativeRecorder.series_of_call`'s keys.
    """

    def __init__(
        self,
        recorder: Any,
        scope: Scope,
        user: type[Any],
        call: type[Any],
        user_series: dict[str, Any],
        call_series: dict[tuple[Any, ...], Any],
    ) -> None: ...
    def open_unit(self, name: str, attributes: Mapping[str, Any] | None, /) -> Any:
        """Open a user's unit below the current span, which its own then is."""
    def open_call(self, kind: Any, /) -> Any:
        """Open the unit of a call below the current span, to be entered."""

class _Unit:
    """What the units of users and of calls have in common."""

    told: Final[Span]
    started: Final[float]
    @property
    def span(self) -> Span: ...
    @property
    def trace_id(self) -> int: ...
    def set(self, key: str, value: Any) -> None: ...
    def event(self, name: str, **attributes: Any) -> None: ...

class CallUnit(_Unit):
    """`spanrun.telemetry.units.call.CallUnit`, compiled."""

    kind: Final[Any]
    @property
    def recorder(self) -> Any: ...
    @property
    def attributes(self) -> dict[str, Any]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def fail(self, error_type: str) -> None: ...
    def record(self, metric: Any, value: float, **more: Any) -> None: ...

class UserUnit(_Unit):
    """`spanrun.telemetry.units.user.UserUnit`."""

    def close(self, error: BaseException | None) -> None: ...

class unit:  # noqa: N801 -- the public name, `spanrun.unit`
    """`spanrun.unit`."""

    def __init__(self, name: str, /, **attributes: Any) -> None: ...
    def __enter__(self) -> UserUnit: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def units_record(recorder: Callable[[], Any], off: Any) -> None:
    """Say what gives the recorder in force, and what a unit is where there is none."""

def put_in_force(recorder: Any) -> None:
    """Have units record into ``recorder``; with None, ask for it each time."""

class JobRows:
    """`spanrun.telemetry.recordings.jobs.JobRowsInPython`, compiled."""

    def __init__(
        self, success: type, number: int, describe: Callable[..., Any]
    ) -> None:
        """See there."""
    def add(self, run: Any, outcome: Any, /) -> None: ...
    def take(self, most: int, /) -> tuple[bytes, list[tuple[int, Any]]]: ...
    def pop(self) -> object: ...
    def clear(self) -> None: ...
    def __len__(self) -> int: ...

def pack_rows(rows: bytes, width: int, used: int) -> tuple[bytes, bytes]:
    """`spanrun.telemetry.recordings.columns.pack_rows_in_python`, compiled."""

def pack_spans(
    data: bytes, headers: bytes
) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, int, int, int]:
    """The ``data`` and ``headers`` of a `Batch`, at least one span, for the disk.

    The same as `spanrun.telemetry.recordings.spans.pack_spans_in_python`, which is its
    fallback and says what the parts are.
    """

def scan_json(text: str, at: int) -> tuple[Any, int] | None:
    """The value of JSON at ``at`` and where it ends; None where `json` is to tell.

    But for that the same as `spanrun.clients._parse.scan_in_python`, its fallback.
    """
