"""A dashboard of panels: their ids, their places, the variables and the links."""

import itertools
import json
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import heatmap, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.panels import JAEGER, RUNBOOKS, SOURCE, SOURCE_TYPE, Book
from spanrun import semconv
from spanrun.slo.annotations import RUNBOOKS as BOOKS
from spanrun.slo.promql import label, series

TAG: Final = "spanrun"
FIRING: Final = 'ALERTS{alertname=~"Spanrun.*", alertstate="firing"}'
_CHOSEN: Final = f'{label(semconv.SERVICE_NAME)}=~"$service"'
_VERSION: Final = label(semconv.SERVICE_VERSION)
_RUNNER: Final = label(semconv.SPANRUN_RUNNER_NAME)
_RUNNING: Final = (
    f"group by ({label(semconv.SERVICE_NAME)}, {_VERSION}) "
    f'({series(semconv.METRIC_SPANRUN_JOBS)}{{{_CHOSEN}, {_VERSION}!=""}}'
)
_RELEASED: Final = f"{_RUNNING}) unless {_RUNNING} offset 5m)"
"""Versions of a service that weren't there five minutes ago."""
_BLOCKED: Final = (
    f"sum by ({_RUNNER}) (rate({series(semconv.METRIC_SPANRUN_LOOP_BLOCKED)}"
    f"{{{_CHOSEN}}}[$__rate_interval])) > 0"
)

_ON: Final = True  # the SDK has no keywords for its switches

Panel = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel
Section = tuple[str, Sequence[Panel], Book]
"""A title, the panels below it, and the run book of those that name none."""


def board(
    uid: str,
    title: str,
    about: str,
    sections: Sequence[Section],
    variables: Sequence[dashboards.QueryVariable] = (),
) -> Dashboard:
    """Put a dashboard together.

    Panels stand in the order given, from left to right. Ids count from 1, and the
    queries of a panel are A, B, C, … Each links to its run book. The variables for
    data source, service and runner are always there, so that a link from one to another
    keeps the choice; those that no query uses are hidden. ``variables`` come last.
    """
    made = (
        dashboards.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .link(
            dashboards.DashboardLink("spanrun")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(_ON)
            .keep_time(_ON)
        )
    )
    for marks in _annotations():
        made.annotation(marks)
    ids = itertools.count(1)
    for heading, panels, book in sections:
        made.with_row(dashboards.Row(heading).id(next(ids)))
        for panel in panels:
            made.with_panel(panel.id(next(ids)))
            _lead(panel, book)
    used = "".join(target.expr for target in _lettered(made.build()))
    made.with_variable(
        dashboards.DatasourceVariable("datasource")
        .label("Prometheus")
        .type(SOURCE_TYPE)
    )
    service, runner = semconv.SERVICE_NAME, semconv.SPANRUN_RUNNER_NAME
    jobs = series(semconv.METRIC_SPANRUN_JOBS)
    own = f'{jobs}{{{label(service)}=~"$service"}}'
    if f"${{{JAEGER}}}" in json.dumps(made.build(), cls=JSONEncoder):
        made.with_variable(
            dashboards.TextBoxVariable(JAEGER)
            .label("Jaeger")
            .default_value("http://localhost:16686")
        )
    made.with_variable(
        dashboards.ConstantVariable(RUNBOOKS).label("Run books").value(BOOKS)
    )
    for variable in (
        choice("service", "Service", jobs, service, shown="$service" in used),
        choice("runner", "Runner", own, runner, shown="$runner" in used),
        *variables,
    ):
        made.with_variable(variable)
    return made.build()


class Marks(AnnotationQuery):
    """What is drawn over every curve: when something happened, and what.

    The SDK has no fields for the texts, which Grafana reads.
    """

    def __init__(self, name: str, colour: str, expr: str, **texts: str) -> None:
        super().__init__(name, SOURCE, icon_color=colour, expr=expr)
        self._texts: Final = texts

    def to_json(self) -> dict[str, object]:
        """As Grafana has it."""
        return {**super().to_json(), **self._texts}


class _Built(Builder[AnnotationQuery]):
    """A builder of what is made already, as the SDK asks for."""

    def __init__(self, marks: Marks) -> None:
        self._marks: Final = marks

    def build(self) -> Marks:
        """It."""
        return self._marks


def _annotations() -> Iterator[_Built]:
    service, slo = f"{{{{{label(semconv.SERVICE_NAME)}}}}}", "{{slo}} {{service}}"
    for name, colour, expression, title, text in (
        ("Alerts", "red", FIRING, "{{alertname}}", f"{slo} {{{{severity}}}}"),
        ("Releases", "blue", _RELEASED, f"{service} {{{{{_VERSION}}}}}", "released"),
        (
            "Blocked loops",
            "orange",
            _BLOCKED,
            "event loop blocked",
            f"{{{{{_RUNNER}}}}}",
        ),
    ):
        yield _Built(
            Marks(name, colour, expression, titleFormat=title, textFormat=text)
        )


def _lead(panel: Panel, book: Book) -> None:
    """Have ``panel`` link to ``book``, unless it links to another one."""
    built = panel.build()
    links = built.links or []
    if not any(f"${{{RUNBOOKS}}}/" in (link.url or "") for link in links):
        built.links = [*links, book.link().build()]


def _lettered(whole: Dashboard) -> Iterator[Any]:
    """Each query, once it has its letter: the SDK leaves them without."""
    for panel in whole.panels or ():
        targets: Sequence[Any] = getattr(panel, "targets", None) or ()
        for letter, target in zip(ascii_uppercase, targets, strict=False):
            target.ref_id = letter
            yield target


def dump(whole: Dashboard) -> str:
    """The JSON that Grafana reads."""
    return (
        JSONEncoder(indent=1, sort_keys=True, ensure_ascii=False).encode(whole) + "\n"
    )


def choice(
    name: str, title: str, of: str, attribute: str, *, shown: bool = True
) -> dashboards.QueryVariable:
    """A variable whose values are those of a label; all of them are chosen at first."""
    return (
        dashboards.QueryVariable(name)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({of}, {label(attribute)})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .hide(VariableHide.DONT_HIDE if shown else VariableHide.HIDE_VARIABLE)
        .multi(_ON)
        .include_all(_ON)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all", selected=True))
    )
