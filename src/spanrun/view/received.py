"""`Received`: the logs and the metrics of a page, as far as there are any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spanrun.telemetry.recordings import signals
from spanrun.view.columns import Columns, Texts
from spanrun.view.logs import MOST_LOGS, LogRows
from spanrun.view.panels import told
from spanrun.view.series import Metrics

MOST_POINTS: Final = 200_000


class Received:
    """What was received of a session, beside its spans.

    Args:
        folder: Of the store.
        session: Its id.
        run: Of a page of one run; empty for all of the session. What is received, but
            for its own log records, is of no run.
        texts: The table of the page's texts.
        zero_ns: Where the page's time begins.
        spans: The row of each span, by its trace and its id.
        fixes: As of `LogRows`.

    Attributes:
        is_over: There is more than this one has room for: another would have what is
            newer.

    Raises:
        StoreError: It can't be read.
    """

    def __init__(
        self,
        folder: Path,
        session: str,
        run: str,
        texts: Texts,
        zero_ns: int,
        spans: Mapping[tuple[str, str], int],
        fixes: Columns,
    ) -> None:
        self._folder: Final = folder
        self._session: Final = session
        self._run: Final = run
        self._zero: Final = zero_ns
        self._rows: Final = LogRows(texts, zero_ns, spans, fixes, run)
        self._metrics: Final = Metrics()
        self._seen: Final[dict[signals.Kind, int]] = {"logs": 0, "metrics": 0}
        self._counts: Final = {"logs": 0, "logs_gone": 0, "points": 0, "points_gone": 0}
        self._panels: dict[str, Any] | None = None
        self._is_due = self.is_over = False
        self.advance()

    @property
    def logs(self) -> Columns:
        """The log records."""
        return self._rows.columns

    def advance(self) -> bool:
        """Read what is new; whether any metrics are.

        Raises:
            StoreError: It can't be read.
        """
        for body in self._read("logs", MOST_LOGS, "logs"):
            self._counts["logs"] -= self._rows.fill(body)
        self._rows.fix()
        found = [] if self._run else self._read("metrics", MOST_POINTS, "points")
        for body in found:
            self._metrics.fill(body)
        self._is_due = self._is_due or bool(found)
        self.is_over = (
            len(self.logs) > MOST_LOGS * 5 // 4
            or self._metrics.points > MOST_POINTS * 5 // 4
        )
        return bool(found)

    def panels(self) -> dict[str, Any] | None:
        """The panels of the metrics; None if there are none."""
        if self._is_due:
            self._panels, self._is_due = told(self._metrics, self._zero), False
        return self._panels

    def counts(self) -> dict[str, int]:
        """How many there are, and how many of them aren't in the page."""
        shown = {"logs_shown": len(self.logs), "points_shown": self._metrics.points}
        return {**self._counts, **shown}

    def _read(self, kind: signals.Kind, most: int, what: str) -> list[bytes]:
        found = signals.read(self._folder, self._session, kind, self._seen[kind], most)
        self._seen[kind] = found.last
        self._counts[what] += found.items
        self._counts[f"{what}_gone"] = found.forgotten
        return found.bodies
