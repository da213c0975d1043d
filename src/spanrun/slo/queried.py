"""A metric source of ``type: prometheus``: events that any metric there counts.

A ``query`` is one of three:

    http_server_request_duration_seconds_count{http_route="/items"}   # counters
    sum(increase(requests_total[{{.window}}]))   # how many in a window, as Sloth has it
    avg(probe_success)                           # under `raw`: a share, from 0 to 1
"""

from __future__ import annotations

import re
from typing import Final

from spanrun.slo.document import Part
from spanrun.slo.model import Form, Queried

TYPE: Final = "prometheus"
LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.]*")

_WINDOW: Final = re.compile(r"\{\{\s*\.window\s*\}\}|\$window\b")
_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`')
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:.]*)?\s*(\{[^{}()\[\]]*\})?")
_RATE: Final = re.compile(r"\bi?rate\s*\(")
_RATIO: Final = ("raw", "rawType")


def is_queried(ratio: Part) -> bool:
    """Whether any source in a ``ratioMetric`` is one."""
    return any(
        inner.node.id == "mapping"
        and any(name == "type" and of.node.value == TYPE for name, of in inner.pairs())
        for _, each in ratio.pairs()
        if each.is_mapping
        for name, inner in each.pairs()
        if name == "metricSource"
    )


def queried(ratio: Part) -> Queried:
    """Read a ``ratioMetric`` of such sources."""
    fields = ratio.fields("counter", "good", "bad", "total", *_RATIO)
    if any(name in fields for name in _RATIO):
        return _share(ratio, fields)
    counter = _required(ratio, fields, "counter")
    if not counter.flag():
        raise counter.wrong("is false", "count with counters, or write a share as raw")
    parts = [fields[name] for name in ("good", "bad") if name in fields]
    if len(parts) != 1:
        raise ratio.wrong("needs either good or bad", "write one of them")
    form, total = _counted(_required(ratio, fields, "total"))
    of, part = _counted(parts[0])
    if of != form:
        raise parts[0].wrong(
            "and total are queries of different kinds",
            "write both as counters, or both over {{.window}}",
        )
    return Queried(total, part, part_is_bad="bad" in fields, form=form)


def _share(ratio: Part, fields: dict[str, Part]) -> Queried:
    """A share that somebody else has worked out."""
    for name in ("good", "bad", "total"):
        if name in fields:
            raise fields[name].wrong("has no meaning beside raw", "remove one of them")
    kind = _required(ratio, fields, "rawType").word("success", "failure")
    query = _query(_required(ratio, fields, "raw"))
    if _WINDOW.search(query.text()):
        raise query.wrong("has a window", "a share is read as it is: leave it out")
    return Queried("", query.text(), part_is_bad=kind == "failure", form="share")


def _counted(holder: Part) -> tuple[Form, str]:
    """What is counted, and how the query has it."""
    query = _query(holder)
    text = query.text()
    bare = _STRING.sub('""', text)
    if _WINDOW.search(bare):
        if _RATE.search(bare):
            raise query.wrong(
                "has a rate", "say increase: alerts wait for a number of events"
            )
        return "window", _WINDOW.sub("{window}", text)
    if not _SELECTOR.fullmatch(bare):
        raise query.wrong(
            'is neither counters, as name{label="value"}, nor over {{.window}}',
            "write one of these: counters are summed here",
        )
    return "counters", text


def _query(holder: Part) -> Part:
    inner = _required(holder, holder.fields("metricSource"), "metricSource")
    fields = inner.fields("type", "spec", "metricSourceRef")
    _required(inner, fields, "type").word(TYPE)
    spec = _required(inner, fields, "spec")
    return _required(spec, spec.fields("query"), "query")


def _required(whole: Part, fields: dict[str, Part], name: str) -> Part:
    if name not in fields:
        raise whole.wrong(f"has no {name}", "add it")
    return fields[name]
