"""Read OpenSLO v1: the subset that can be kept, and nothing beside it.

A part that isn't known is refused by name and line: an objective that is only
half understood would be watched wrongly, and nobody would see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from spanrun import checks
from spanrun.errors import ConfigurationError
from spanrun.semconv import Metric
from spanrun.slo.document import Part, documents
from spanrun.slo.indicator import RESOURCE, availability, latency, required
from spanrun.slo.model import MIN_BAD_EVENTS, Indicator, Period, Queried, Slo
from spanrun.slo.queried import LABEL
from spanrun.text import one_line

MIN_BAD_EVENTS_KEY: Final = "spanrun/min-bad-events"
RUNBOOK_KEY: Final = "spanrun/runbook"
GROUP_BY_KEY: Final = "spanrun/group-by"

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_DESCRIPTION: Final = 1_050
_PERIODS: Final[dict[str, Period]] = {"28d": 28, "4w": 28, "30d": 30}


def load(paths: Iterable[Path]) -> list[Slo]:
    """Read the objectives of these files, in order.

    Raises:
        ConfigurationError: With file, line and name of what can't be read.
        OSError: A file can't be opened.
    """
    slos: dict[str, Slo] = {}
    for each in checks.each("load", "paths", paths, "paths"):
        path = checks.instance("load", "paths", each, Path, "Path('slo.yaml')")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{one_line(str(path))} isn't UTF-8: name a file with objectives"
            ) from error
        for slo in parse(text, str(path)):
            if slo.name in slos:
                raise ConfigurationError(
                    f"{one_line(str(path))}: {slo.name} is there already: "
                    "give it another name"
                )
            slos[slo.name] = slo
    return list(slos.values())


def parse(text: str, source: str = "slo.yaml") -> list[Slo]:
    """Read the objectives of a text: one for each YAML document.

    Args:
        text: YAML.
        source: The file's name, for messages.

    Raises:
        ConfigurationError: With line and name of what can't be read.
    """
    checks.text("parse", "text", text, empty=True)
    checks.text("parse", "source", source)
    slos = [_slo(part) for part in documents(text, source)]
    if not slos:
        raise ConfigurationError(f"{source} has no objective: write one into it")
    return slos


def _slo(document: Part) -> Slo:
    fields = document.fields("apiVersion", "kind", "metadata", "spec")
    required(document, fields, "apiVersion").word("openslo/v1")
    required(document, fields, "kind").word("SLO")
    metadata = required(document, fields, "metadata")
    named = metadata.fields("name", "displayName", "annotations")
    name = required(metadata, named, "name")
    if not _NAME.fullmatch(name.value()):
        raise name.wrong(
            f"is {name.value()!r}",
            "use at most 63 small letters, digits and hyphens, none at an end",
        )
    notes = named.get("annotations")
    noted = notes.fields(MIN_BAD_EVENTS_KEY, RUNBOOK_KEY, GROUP_BY_KEY) if notes else {}
    spec = required(document, fields, "spec")
    parts = spec.fields(
        "description",
        "service",
        "indicator",
        "timeWindow",
        "budgetingMethod",
        "objectives",
    )
    required(spec, parts, "budgetingMethod").word("Occurrences")
    indicator, target = _objective(
        required(spec, parts, "indicator"), required(spec, parts, "objectives")
    )
    title = named["displayName"].text() if "displayName" in named else name.value()
    return Slo(
        name=name.value(),
        title=title,
        description=_description(parts.get("description")),
        service=required(spec, parts, "service").text(),
        indicator=indicator,
        target=target,
        period=_period(required(spec, parts, "timeWindow")),
        min_bad_events=_floor(noted.get(MIN_BAD_EVENTS_KEY), indicator),
        runbook=noted[RUNBOOK_KEY].text() if RUNBOOK_KEY in noted else "",
        group_by=_group_by(noted.get(GROUP_BY_KEY), indicator),
    )


def _floor(given: Part | None, indicator: Indicator) -> float:
    if given is None:
        # A share says nothing of how many events there were.
        shared = isinstance(indicator, Queried) and indicator.form == "share"
        return 0.0 if shared else MIN_BAD_EVENTS
    try:  # annotations are texts: "20"
        floor = float(given.value())
    except ValueError:
        floor = -1
    if not 0 < floor < float("inf"):
        raise given.wrong(f"is {given.value()!r}", "it must be a number above 0")
    return floor


def _group_by(given: Part | None, indicator: Indicator) -> tuple[str, ...]:
    """Names of attributes, with commas between them: annotations are texts."""
    if given is None:
        return ()
    names = tuple(each.strip() for each in given.text().split(","))
    if isinstance(indicator, Queried):
        return _labels(given, names)
    metric: Metric = indicator.metric
    known = (*metric.attributes, *RESOURCE)
    for name in names:
        if name not in known:
            raise given.wrong(
                f"has {name!r}, which is no attribute of {metric.name}",
                f"use some of {', '.join(known)}, with commas between them",
            )
    return _once(given, names)


def _labels(given: Part, names: tuple[str, ...]) -> tuple[str, ...]:
    """Labels of series that nobody here knows."""
    for name in names:
        if not LABEL.fullmatch(name) or name in ("slo", "service"):
            raise given.wrong(
                f"has {name!r}", "name labels of the series; slo and service are ours"
            )
    return _once(given, names)


def _once(given: Part, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise given.wrong("names an attribute twice", "name it once")
    return names


def _description(part: Part | None) -> str:
    text = part.text() if part else ""
    if part and len(text) > _MAX_DESCRIPTION:
        raise part.wrong(
            f"has {len(text)} characters", f"OpenSLO allows {_MAX_DESCRIPTION}"
        )
    return text


def _objective(indicator: Part, objectives: Part) -> tuple[Indicator, float]:
    parts = indicator.fields("metadata", "spec")
    if "metadata" in parts:
        parts["metadata"].fields("name", "displayName")
    spec = required(indicator, parts, "spec")
    source = spec.fields("description", "ratioMetric", "thresholdMetric")
    items = objectives.items()
    if len(items) != 1:
        raise objectives.wrong(
            f"has {len(items)} entries",
            "write one, and a document of its own for each other",
        )
    (objective,) = items
    fields = objective.fields("displayName", "op", "value", "target", "targetPercent")
    target = _target(objective, fields)
    if ("ratioMetric" in source) is ("thresholdMetric" in source):
        raise spec.wrong(
            "needs either ratioMetric or thresholdMetric", "write one of them"
        )
    if "ratioMetric" in source:
        for name in ("op", "value"):
            if name in fields:
                raise fields[name].wrong(
                    "has no meaning for a ratioMetric", "remove it"
                )
        return availability(source["ratioMetric"]), target
    op = required(objective, fields, "op")
    if op.value() != "lte":
        raise op.wrong(
            f"is {op.value()!r}", "use lte, buckets include the bound they end at"
        )
    value = required(objective, fields, "value")
    return latency(source["thresholdMetric"], value), target


def _target(objective: Part, fields: dict[str, Part]) -> float:
    given = [name for name in ("target", "targetPercent") if name in fields]
    if len(given) != 1:
        raise objective.wrong("needs either target or targetPercent", "write one")
    scale = 100 if given[0] == "targetPercent" else 1
    part = fields[given[0]]
    number = part.number()
    if not 0 < number < scale:
        raise part.wrong(
            f"is {number:g}", f"it must be above 0 and below {scale}, else no budget is"
        )
    return round(number / scale, 12)


def _period(windows: Part) -> Period:
    items = windows.items()
    if len(items) != 1:
        raise windows.wrong(f"has {len(items)} entries", "write exactly one")
    (window,) = items
    fields = window.fields("duration", "isRolling")
    rolling = required(window, fields, "isRolling")
    if not rolling.flag():
        raise rolling.wrong("is false", "only rolling windows can be kept, write true")
    duration = required(window, fields, "duration")
    return _PERIODS[duration.word(*_PERIODS)]
