"""What ``spanrun spool`` says, as text and as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from spanrun.cli import console
from spanrun.quantities import seconds
from spanrun.telemetry.queue.accounting import SignalStatus, SpoolStatus
from spanrun.telemetry.queue.contents import Item, contents
from spanrun.telemetry.queue.frame import Frame
from spanrun.telemetry.queue.inspection import (
    FolderInspection,
    Inspection,
    Waiting,
    refused_frames,
    waiting_frames,
)
from spanrun.telemetry.signals import Signal

_UNITS: Final[Mapping[Signal, tuple[str, str]]] = {
    "traces": ("span", "spans"),
    "metrics": ("data point", "data points"),
    "logs": ("log record", "log records"),
}
_WIDTH: Final = 60
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES: Final = ("B", "KiB", "MiB", "GiB")
_K: Final = 1024


def amount(items: Mapping[Signal, int]) -> str:
    """``1,200 spans and 5 data points``."""
    told = [
        f"{count:,} {_UNITS[signal][count != 1]}"
        for signal, count in items.items()
        if count
    ]
    return " and ".join(told) or "nothing"


def status(found: Inspection, now: float) -> list[str]:
    """A line for the whole, and one for each process and signal, each refusal."""
    items = _total(found)
    lines = [f"{found.root}: {amount(items)} on disk"]
    for writer in found.writers:
        lines.append(f"  {_who(writer)}")
        for signal, told in writer.signals.items():
            lines.append(f"    {_waiting(signal, told, now)}")
        if writer.damaged:
            places = "1 place" if writer.damaged == 1 else f"{writer.damaged} places"
            lines.append(f"    {places} damaged: what stood there is lost")
        if writer.later:
            lines.append(f"    {later(writer)}")
        if writer.trouble:
            lines.append(f"    can't be read: {console.line(writer.trouble)}")
    for each in found.quarantine:
        head = f"refused with {console.line(each.code)}, {_age(each.at, now)} ago"
        what = f"can't be read: {each.trouble}" if each.trouble else amount(each.items)
        lines.append(f"  {head}: {what}, {_size(each.bytes)}")
        lines.append(f"    {console.line(str(each.path))}")
    for kept in found.unusable:
        lines.append(f"  moved out of the way, {_age(kept.at, now)} ago: {kept.code}")
        lines.append(f"    {console.line(str(kept.path))}")
    return lines


def later(writer: FolderInspection) -> str:
    """That a later release wrote it."""
    return f"written in format {writer.later}, which this release can't read"


def status_json(found: Inspection, now: float) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "folder": str(found.root),
        "processes": [
            {
                "folder": str(writer.path),
                "pid": writer.pid,
                "live": writer.live,
                "signals": {
                    signal: {
                        "items": told.items,
                        "frames": told.frames,
                        "kept": told.kept,
                        "bytes": told.bytes,
                        "oldest_age": max(0.0, now - told.since) if told.since else 0.0,
                    }
                    for signal, told in writer.signals.items()
                },
                "damaged": writer.damaged,
                "later_format": writer.later,
                "trouble": writer.trouble,
            }
            for writer in found.writers
        ],
        "refused": [
            {
                "file": str(each.path),
                "code": each.code,
                "age": max(0.0, now - each.at),
                "items": each.items,
                "bytes": each.bytes,
                "trouble": each.trouble,
            }
            for each in found.quarantine
        ],
        "unusable": [
            {"file": str(kept.path), "why": kept.code, "age": max(0.0, now - kept.at)}
            for kept in found.unusable
        ],
    }


class Shown:
    """The first ``limit`` spans and metrics in a spool, and how many there are more.

    Args:
        found: The spool.
        limit: Of what is kept of it.
        refused: What the receiver refused, instead of what waits.
    """

    def __init__(self, found: Inspection, limit: int, *, refused: bool) -> None:
        self._root: Final = found.root
        self.left_out: Final[Counter[Signal]] = Counter()
        self.of: Final[list[tuple[str, list[Item]]]] = []
        self._room = limit
        if refused:
            for each in found.quarantine:
                title = f"refused with {each.code}: {each.path.name}"
                self._take(title, refused_frames(each.path))
        else:
            for writer in found.writers:
                self._take(_who(writer), waiting_frames(writer.path))

    def _take(self, title: str, frames: Iterator[Frame]) -> None:
        items: list[Item] = []
        for frame in frames:
            left = frame.items
            if self._room:
                told = [item for item, _ in zip(contents(frame), range(self._room))]  # noqa: B905 -- the shorter one ends it
                self._room -= len(told)
                left -= sum(item.items for item in told)
                items += told
            self.left_out[frame.signal] += max(0, left)
        if items:
            self.of.append((title, items))

    def as_text(self) -> list[str]:
        """A line for each."""
        lines: list[str] = []
        for title, items in self.of:
            lines.append(console.line(title))
            lines += [f"  {_item(item)}" for item in items]
        if any(self.left_out.values()):
            lines.append(f"and {amount(self.left_out)} more")
        return lines or [f"{self._root}: nothing"]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "groups": [
                {"of": title, "items": [_item_json(item) for item in items]}
                for title, items in self.of
            ],
            "left_out": {signal: n for signal, n in self.left_out.items() if n},
        }


def progress(known: SpoolStatus) -> str:
    """How far the delivery is."""
    done: Counter[Signal] = Counter()
    left: Counter[Signal] = Counter()
    for signal, each in known.signals.items():
        done[signal], left[signal] = each.delivered, each.on_disk
    trouble = next((each.trouble for each in known.signals.values()), "")
    told = f"delivered {amount(done)}, {amount(left)} to go"
    return console.line(f"{told}: {trouble}" if trouble else told, 200)


def flushed(left: Inspection, done: SpoolStatus | None) -> list[str]:
    """What was delivered, and what is left."""
    lines: list[str] = []
    for signal, known in _signals(done).items():
        if known.delivered:
            sent = amount({signal: known.delivered})
            lines.append(f"delivered {sent} to {known.destination}")
    running = [writer for writer in left.writers if writer.live and writer.signals]
    if running:
        items = _total(Inspection(left.root, tuple(running), ()))
        lines.append(f"left {amount(items)} to the processes that have it in hand")
    waiting = tuple(w for w in left.writers if not w.live and w.signals)
    if waiting:
        lines.append(f"{amount(_total(Inspection(left.root, waiting, ())))} wait on")
    return lines or [f"{left.root}: nothing to deliver"]


def flushed_json(left: Inspection, done: SpoolStatus | None) -> dict[str, Any]:
    """The same as JSON."""
    signals = _signals(done)
    return {
        "delivered": {signal: each.delivered for signal, each in signals.items()},
        "dropped": {signal: dict(each.dropped) for signal, each in signals.items()},
        "trouble": {
            signal: each.trouble for signal, each in signals.items() if each.trouble
        },
        "left": [
            {"folder": str(writer.path), "live": writer.live, "items": writer.items}
            for writer in left.writers
        ],
    }


def _signals(done: SpoolStatus | None) -> Mapping[Signal, SignalStatus]:
    return {} if done is None else done.signals


def _total(found: Inspection) -> dict[Signal, int]:
    items: Counter[Signal] = Counter()
    for writer in found.writers:
        items.update(writer.items)
    return dict(items)


def _who(writer: FolderInspection) -> str:
    name = f"process {writer.pid}" if writer.pid else console.line(writer.path.name)
    return f"{name}, {'in hand' if writer.live else 'gone'}"


def _waiting(signal: Signal, told: Waiting, now: float) -> str:
    age = f", the oldest {_age(told.since, now)} old" if told.since else ""
    kept = f", {told.kept:,} kept to the last" if told.kept else ""
    return f"{amount({signal: told.items})}, {_size(told.bytes)}{age}{kept}"


def _item(item: Item) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item.start))
    name, service = console.line(item.name, _WIDTH), console.line(item.service, _WIDTH)
    if item.signal == "metrics":
        points = amount({"metrics": item.points})
        return f"{moment}  {name}  {points}  {service}".rstrip()
    if item.signal == "logs":
        return f"{moment}  {name}  {item.trace_id}  {service}".rstrip()
    told = [moment, name, seconds(item.seconds), item.trace_id, service]
    if item.status != "unset":
        told.insert(3, item.status)
    return "  ".join(told).rstrip()


def _item_json(item: Item) -> dict[str, Any]:
    told: dict[str, Any] = {
        "signal": item.signal,
        "service": item.service,
        "name": item.name,
        "time": item.start,
    }
    if item.signal == "metrics":
        return {**told, "points": item.points}
    if item.signal == "logs":
        return {**told, "trace_id": item.trace_id}
    more = {"seconds": item.seconds, "trace_id": item.trace_id, "status": item.status}
    return {**told, **more}


def _age(since: float, now: float) -> str:
    age = max(0.0, now - since)
    for unit, name in _AGES:
        if age >= unit:
            return f"{age / unit:.0f} {name}"
    return f"{age:.0f} s"


def _size(size: float) -> str:
    for unit in _SIZES[:-1]:
        if size < _K:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _K
    return f"{size:.1f} {_SIZES[-1]}"
