"""`Consumer`: sends the messages of one signal, and settles each by its outcome."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from spanrun.telemetry.export.outcome import Exporter, Outcome
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.log import Log, Seldom
from spanrun.telemetry.queue.accounting import Accounting, SignalStatus
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.message_queue import MessageQueue, Recovered
from spanrun.telemetry.queue.retry import Backoff
from spanrun.telemetry.signals import Signal

_log: Final = Log(__name__)

Watch: TypeAlias = Callable[[Signal, float, Outcome], None]

_PAUSE: Final = 60.0  # seconds between two lines of a receiver that comes and goes
_SMALL: Final = 16 * 1024  # below this, size isn't what a receiver minds


class Consumer:
    """Delivers what is in queue of one signal. For one thread, but `stop` and `cut`.

    Args:
        exporter: Makes the requests.
        queue: Where messages come from, and are acknowledged.
        accounting: Told of what was delivered or refused.
        backoff: Of this signal.
        request_bytes: Of a request that is put together from several frames; 0
            where each frame goes by itself: a request with one metric at two
            times isn't taken well everywhere.
        watch: Told of each request.
    """

    def __init__(
        self,
        exporter: Exporter,
        queue: MessageQueue,
        accounting: Accounting,
        backoff: Backoff,
        *,
        request_bytes: int,
        watch: Watch | None,
    ) -> None:
        self.exporter: Final = exporter
        self.backoff: Final = backoff
        self.trouble = ""
        self.failed = False
        self.since = 0.0
        self._signal: Final = exporter.destination.signal
        self._queue: Final = queue
        self._accounting: Final = accounting
        self._limit = request_bytes
        self._watch: Final = watch
        self._seldom = Seldom(_PAUSE)
        self._stopped = False

    def send_next(self, recovered: Recovered) -> None:
        """Send what fits into a request, and settle it by the answer."""
        try:
            messages = self._queue.take(self._signal, self._limit, recovered)
        except OSError as error:
            self._fail(Outcome("retry", type(error).__name__, "spool can't be read"))
            return
        if not messages:
            # Being written just now; the pause keeps this from spinning.
            self.backoff.until = time.monotonic() + 0.01
            return
        groups = deque([messages])
        released = list(messages)
        try:
            while groups and not self._stopped:
                group = groups.popleft()
                pieces = self._settle(group, self._send(group))
                if pieces is None:
                    return
                released.extend(message for piece in pieces for message in piece)
                groups.extendleft(reversed(pieces))
        finally:
            self._queue.release(released)

    def status(self, now: float) -> SignalStatus:
        """Where the signal's items are, and how its destination does."""
        signal, accounting, spool = self._signal, self._accounting, self._queue.spool
        return SignalStatus(
            produced=accounting.produced[signal],
            recovered=spool.recovered_items[signal],
            delivered=accounting.delivered[signal],
            dropped=accounting.dropped_of(signal),
            in_memory=self._queue.in_memory(signal),
            on_disk=spool.waiting(signal),
            destination=self.exporter.destination.label,
            trouble=self.trouble,
            retry_in=max(0.0, self.backoff.until - now),
        )

    def stop(self) -> None:
        """End a request that runs, and begin no other."""
        self._stopped = True
        self.exporter.abort()

    def has_to_wait(self, now: float) -> bool:
        """Whether the receiver failed, or asked for a pause that isn't over."""
        return self.failed or (self.backoff.ordered and self.backoff.until > now)

    def hurry(self) -> None:
        """Somebody waits: ask the receiver again, whatever it did before."""
        self.backoff.hurry()
        self.failed = False

    def cut(self, grace: float) -> None:
        """End a request that takes ``grace`` seconds longer than it may, or less."""
        since = self.since
        limit = self.exporter.destination.timeout + grace
        if since and time.monotonic() - since > limit:
            self.exporter.abort()

    def after_fork(self) -> None:
        """In the child: no request is running, whatever the parent did."""
        self.exporter.after_fork()
        self.backoff.succeed()
        self.trouble = ""
        self._seldom = Seldom(_PAUSE)
        self.failed = self._stopped = False
        self.since = 0.0

    def fail_inside(self, error: Exception) -> None:
        """A fault of our own: note it, and go on later."""
        _log.error("spanrun: fault while sending %s", self._signal, error=error)
        self._fail(Outcome("retry", type(error).__name__, "a fault in spanrun"))

    def _send(self, group: Sequence[Message]) -> Outcome:
        payload = b"".join([message.frame.payload for message in group])
        self.since = started = time.monotonic()
        outcome = self.exporter.send(payload)
        self.since = 0.0
        if outcome.verdict == "split":
            if len(payload) <= _SMALL:
                return Outcome("refused", outcome.code, outcome.detail)
            self._limit = min(self._limit, max(_SMALL, len(payload) // 2))
        if self._watch is not None:
            self._watch(self._signal, time.monotonic() - started, outcome)
        return outcome

    def _settle(
        self, group: list[Message], outcome: Outcome
    ) -> list[list[Message]] | None:
        """Sign off, or give the smaller pieces to be sent; None to stop for now."""
        if outcome.verdict == "delivered":
            self._deliver(group, outcome)
            return []
        if outcome.verdict in ("retry", "misconfigured"):
            self._fail(outcome)
            return None
        if len(group) > 1:
            # The one that is refused shall not take its neighbours along.
            middle = len(group) // 2
            return [group[:middle], group[middle:]]
        if outcome.verdict == "split" and (pieces := self._halve(group[0])):
            return pieces
        self._refuse(group[0], outcome)
        return []

    def _deliver(self, group: list[Message], outcome: Outcome) -> None:
        items = sum(message.frame.items for message in group)
        rejected = min(outcome.rejected, items)
        if self._stopped:
            return  # too late: counted as left on disk
        # Counted first: who waits for the queue to be empty reads the accounting then.
        self._accounting.deliver(self._signal, items - rejected)
        if rejected:
            self._accounting.drop(self._signal, rejected, "partial_success")
        self._queue.done(group)
        if rejected:
            _log.warning(
                "%s rejected %d of %d items of %s: %s",
                *(self._where, rejected, items, self._signal, outcome.detail),
            )
        if self.trouble:
            _log.info("%s takes %s again", self._where, self._signal)
        self.trouble = ""
        self.backoff.succeed()

    def _fail(self, outcome: Outcome) -> None:
        self.backoff.fail(outcome, time.monotonic())
        self.failed = True
        trouble = f"{outcome.code} {outcome.detail}".strip()
        if not self.trouble and not self._stopped:
            say = _log.error if outcome.verdict == "misconfigured" else _log.warning
            if (more := self._seldom()) is not None:
                say(
                    "%s doesn't take %s, which wait for it in %s: %s%s",
                    *(self._where, self._signal, self._queue.spool.root, trouble, more),
                )
        self.trouble = trouble

    def _halve(self, message: Message) -> list[list[Message]]:
        with no_fork():
            from spanrun.telemetry.queue.split import halve  # noqa: PLC0415 -- 30 ms, rare

        frames = halve(message.frame)
        if frames is None:
            return []
        return [[piece] for piece in self._queue.replace(message, frames)]

    def _refuse(self, message: Message, outcome: Outcome) -> None:
        """Put it aside; it is counted as lost."""
        frame = message.frame
        self._queue.spool.quarantine([message], outcome.code)
        self._accounting.drop(self._signal, frame.items, "rejected")
        self._queue.done([message])
        hint = ""
        if self._signal == "metrics":
            with no_fork():
                from spanrun.telemetry.queue.split import is_delta  # noqa: PLC0415 -- as above

            if is_delta(frame):
                hint = (
                    "; they have delta temporality, which Prometheus refuses: set "
                    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative"
                )
        if not self.trouble:
            _log.error(
                "%s refused %d items of %s: %s %s%s",
                *(self._where, frame.items, self._signal),
                *(outcome.code, outcome.detail, hint),
            )
        self.trouble = f"{outcome.code} {outcome.detail}{hint}".strip()

    @property
    def _where(self) -> str:
        return self.exporter.destination.label
