"""`Line`: the requests of one signal, one after the other, and what follows them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from spanrun.telemetry.delivery.backoff import Backoff
from spanrun.telemetry.delivery.books import Books, SignalStatus
from spanrun.telemetry.delivery.frames import Signal
from spanrun.telemetry.delivery.parcel import Parcel
from spanrun.telemetry.delivery.send import Outcome, Sender
from spanrun.telemetry.delivery.stock import Adopted, Stock
from spanrun.telemetry.forks import no_fork
from spanrun.telemetry.log import Log, Seldom

_log: Final = Log(__name__)

Watch: TypeAlias = Callable[[Signal, float, Outcome], None]

_PAUSE: Final = 60.0  # seconds between two lines of a receiver that comes and goes
_SMALL: Final = 16 * 1024  # below this, size isn't what a receiver minds


class Line:
    """Delivers what is in stock of one signal. For one thread, but `stop` and `cut`.

    Args:
        sender: Makes the requests.
        stock: Where parcels come from, and are signed off.
        books: Told of what was delivered or refused.
        backoff: Of this signal.
        request_bytes: Of a request that is put together from several frames; 0
            where each frame goes by itself: a request with one metric at two
            times isn't taken well everywhere.
        watch: Told of each request.
    """

    def __init__(
        self,
        sender: Sender,
        stock: Stock,
        books: Books,
        backoff: Backoff,
        *,
        request_bytes: int,
        watch: Watch | None,
    ) -> None:
        self.sender: Final = sender
        self.backoff: Final = backoff
        self.trouble = ""
        self.failed = False
        self.since = 0.0
        self._signal: Final = sender.destination.signal
        self._stock: Final = stock
        self._books: Final = books
        self._limit = request_bytes
        self._watch: Final = watch
        self._seldom = Seldom(_PAUSE)
        self._stopped = False

    def ship(self, adopted: Adopted) -> None:
        """Send what fits into a request, and see to the answer."""
        try:
            parcels = self._stock.take(self._signal, self._limit, adopted)
        except OSError as error:
            self._fail(Outcome("retry", type(error).__name__, "spool can't be read"))
            return
        if not parcels:
            # Being written just now; the pause keeps this from spinning.
            self.backoff.until = time.monotonic() + 0.01
            return
        groups = deque([parcels])
        flown = list(parcels)
        try:
            while groups and not self._stopped:
                group = groups.popleft()
                pieces = self._see_to(group, self._send(group))
                if pieces is None:
                    return
                flown.extend(parcel for piece in pieces for parcel in piece)
                groups.extendleft(reversed(pieces))
        finally:
            self._stock.land(flown)

    def status(self, now: float) -> SignalStatus:
        """Where the signal's items are, and how its destination does."""
        signal, books, spool = self._signal, self._books, self._stock.spool
        return SignalStatus(
            produced=books.produced[signal],
            recovered=spool.adopted_items[signal],
            delivered=books.delivered[signal],
            dropped=books.dropped_of(signal),
            in_memory=self._stock.in_memory(signal),
            on_disk=spool.waiting(signal),
            destination=self.sender.destination.label,
            trouble=self.trouble,
            retry_in=max(0.0, self.backoff.until - now),
        )

    def stop(self) -> None:
        """End a request that runs, and begin no other."""
        self._stopped = True
        self.sender.abort()

    def hurry(self) -> None:
        """Somebody waits: ask the receiver again, whatever it did before."""
        self.backoff.hurry()
        self.failed = False

    def cut(self, grace: float) -> None:
        """End a request that takes ``grace`` seconds longer than it may, or less."""
        since = self.since
        limit = self.sender.destination.timeout + grace
        if since and time.monotonic() - since > limit:
            self.sender.abort()

    def after_fork(self) -> None:
        """In the child: no request is running, whatever the parent did."""
        self.sender.after_fork()
        self.backoff.succeed()
        self.trouble = ""
        self._seldom = Seldom(_PAUSE)
        self.failed = self._stopped = False
        self.since = 0.0

    def fail_inside(self, error: Exception) -> None:
        """A fault of our own: note it, and go on later."""
        _log.error("spanrun: fault while sending %s", self._signal, error=error)
        self._fail(Outcome("retry", type(error).__name__, "a fault in spanrun"))

    def _send(self, group: Sequence[Parcel]) -> Outcome:
        payload = b"".join([parcel.frame.payload for parcel in group])
        self.since = started = time.monotonic()
        outcome = self.sender.send(payload)
        self.since = 0.0
        if outcome.verdict == "split":
            if len(payload) <= _SMALL:
                return Outcome("refused", outcome.code, outcome.detail)
            self._limit = min(self._limit, max(_SMALL, len(payload) // 2))
        if self._watch is not None:
            self._watch(self._signal, time.monotonic() - started, outcome)
        return outcome

    def _see_to(
        self, group: list[Parcel], outcome: Outcome
    ) -> list[list[Parcel]] | None:
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

    def _deliver(self, group: list[Parcel], outcome: Outcome) -> None:
        items = sum(parcel.frame.items for parcel in group)
        rejected = min(outcome.rejected, items)
        if self._stopped:
            return  # too late: counted as left on disk
        # Counted first: who waits for the stock to be empty reads the books then.
        self._books.deliver(self._signal, items - rejected)
        if rejected:
            self._books.drop(self._signal, rejected, "partial_success")
        self._stock.done(group)
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
                    *(self._where, self._signal, self._stock.spool.root, trouble, more),
                )
        self.trouble = trouble

    def _halve(self, parcel: Parcel) -> list[list[Parcel]]:
        with no_fork():
            from spanrun.telemetry.delivery.halve import halve  # noqa: PLC0415 -- 30 ms, rare

        frames = halve(parcel.frame)
        if frames is None:
            return []
        return [[piece] for piece in self._stock.replace(parcel, frames)]

    def _refuse(self, parcel: Parcel, outcome: Outcome) -> None:
        """Put it aside; it is counted as lost."""
        frame = parcel.frame
        self._stock.spool.quarantine([parcel], outcome.code)
        self._books.drop(self._signal, frame.items, "rejected")
        self._stock.done([parcel])
        hint = ""
        if self._signal == "metrics":
            with no_fork():
                from spanrun.telemetry.delivery.halve import is_delta  # noqa: PLC0415 -- as above

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
        return self.sender.destination.label
