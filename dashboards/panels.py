"""The kinds of panel that the dashboards are made of, and what each must have.

Whoever reads a panel at night has three questions: what is this, is it bad, and
what do I do? So each one takes a `Text` with the three answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common, heatmap, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from spanrun import semconv

SECONDS: Final = units.Seconds
MILLISECONDS: Final = units.Milliseconds
SHARE: Final = units.PercentUnit
BYTES: Final = units.BytesIEC
COUNT: Final = units.Short

SOURCE_TYPE: Final = "prometheus"
SOURCE: Final = DataSourceRef(type_val=SOURCE_TYPE, uid="${datasource}")

JAEGER: Final = "jaeger"
"""The variable with the address of Jaeger's page, where searches lead."""

RUNBOOKS: Final = "runbooks"
"""The variable with the address of the run books."""

THIRD: Final = 8
HALF: Final = 12
WHOLE: Final = 24
HEIGHT: Final = 9
_ON: Final = True  # the SDK has no keywords for its switches
_STAT_HEIGHT: Final = 4


def each(what: str) -> str:
    """The unit of a count, as in ``jobs`` or ``jobs/s``."""
    return f"suffix: {what}"


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks Prometheus for.

    Attributes:
        expr: PromQL, with Grafana's variables.
        legend: The name of a series; ``{{label}}`` is its value.
        exemplars: Show single jobs too, which open their trace.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A panel's description: what it shows, what is bad, and what to do then."""

    shows: str
    bad: str
    then: str

    def __str__(self) -> str:
        return f"{self.shows}\n\n**Bad:** {self.bad}\n\n**Then:** {self.then}"


@dataclass(frozen=True, slots=True)
class Place:
    """Another dashboard, as a panel's link leads to it."""

    title: str
    uid: str

    def link(self) -> dashboards.DashboardLink:
        """To it, with the same time, data source, service and runner."""
        return (
            dashboards.DashboardLink(self.title)
            .type(DashboardLinkType.LINK)
            .url(self.url())
        )

    def url(self, chosen: str = "") -> str:
        """The same as a URL; the value of a table's row replaces ``chosen``."""
        variables = "".join(
            f"&var-{one}=${{__value.raw:percentencode}}"
            if chosen.endswith(f"_{one}_name")
            else f"&${{{one}:queryparam}}"
            for one in ("datasource", "service", "runner")
        )
        return f"/d/{self.uid}?${{__url_time_range}}{variables}"


@dataclass(frozen=True, slots=True)
class Book:
    """A page that says what to do, as a panel's link leads to it."""

    title: str
    page: str

    def link(self) -> dashboards.DashboardLink:
        """To it, where the variable of the dashboard says that the pages are."""
        return (
            dashboards.DashboardLink(f"Run book: {self.title}")
            .type(DashboardLinkType.LINK)
            .url(f"${{{RUNBOOKS}}}/{self.page}")
            .target_blank(_ON)
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """From which values on a number is a warning, and bad.

    Where ``bad`` is the lower one, less is worse.
    """

    warning: float
    bad: float

    def steps(self) -> dashboards.ThresholdsConfig:
        """As Grafana has it: colours, each from a value on."""
        marks = [("green", None), ("orange", self.warning), ("red", self.bad)]
        if self.bad < self.warning:
            marks = [("red", None), ("orange", self.bad), ("green", self.warning)]
        return (
            dashboards.ThresholdsConfig()
            .mode(ThresholdsMode.ABSOLUTE)
            .steps([Threshold(value=value, color=colour) for colour, value in marks])
        )


PLAIN: Final = (
    dashboards.ThresholdsConfig()
    .mode(ThresholdsMode.ABSOLUTE)
    .steps([Threshold(value=None, color="text")])
)
"""No value is good or bad. Without any steps Grafana draws in red from 80 on."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search in Jaeger's own page, from a value of a table.

    Attributes:
        title: What the link says.
        attribute: Whose value is looked for: that of the column with the link.
        slow: Among slow jobs alone.
    """

    title: str
    attribute: str
    slow: bool = False

    def link(self, service: str) -> object:
        """The link; the column ``service`` of the same row has the service's name."""
        tag = f"%22{self.attribute}%22%3A%22${{__value.raw:percentencode}}%22"
        if self.slow:
            tag += f"%2C%22{semconv.SPANRUN_JOB_SLOW}%22%3A%22true%22"
        of = f"${{__data.fields[{service}]:percentencode}}"
        url = f"${{{JAEGER}}}/search?service={of}&tags=%7B{tag}%7D"
        return {"title": self.title, "url": url, "targetBlank": True}


def lines(
    title: str,
    text: Text | str,
    unit: str,
    *asked: Query,
    stacked: bool = False,
    signed: bool = False,
    width: int = HALF,
    colours: Mapping[str, str] | None = None,
    to: Sequence[Place | Book] = (),
) -> timeseries.Panel:
    """Curves over time, from 0 on.

    With ``stacked`` they are areas on top of each other; with ``signed`` the axis
    has no floor. ``colours`` are by the names of series.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(str(text))
        .unit(unit)
        .span(width)
        .height(HEIGHT)
        .datasource(SOURCE)
        .links([place.link() for place in to])
        .targets([_ranged(query) for query in asked])
        .fill_opacity(60 if stacked else 8)
        .show_points(look.VisibilityMode.NEVER)
        .tooltip(
            common.VizTooltipOptions()
            .mode(look.TooltipDisplayMode.MULTI)
            .sort(look.SortOrder.DESCENDING)
        )
        .legend(
            common.VizLegendOptions()
            .display_mode(look.LegendDisplayMode.TABLE)
            .placement(look.LegendPlacement.BOTTOM)
            .show_legend(_ON)
            .calcs(["mean", "max", "lastNotNull"])
        )
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL))
    if not signed:
        panel.min(0)
    for name, colour in (colours or {}).items():
        fixed: object = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(name, [DynamicConfigValue("color", fixed)])
    return panel


def number(
    title: str,
    text: Text | str,
    unit: str,
    query: Query,
    limits: Limits | None = None,
    *,
    width: int = 4,
    to: Sequence[Place | Book] = (),
) -> stat.Panel:
    """One number for the time shown."""
    panel = (
        stat.Panel()
        .title(title)
        .description(str(text))
        .unit(unit)
        .span(width)
        .height(_STAT_HEIGHT)
        .datasource(SOURCE)
        .links([place.link() for place in to])
        .targets([target(query).instant()])
        .graph_mode(look.BigValueGraphMode.NONE)
        .color_mode(look.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel.thresholds(limits.steps() if limits else PLAIN)


def heat(title: str, text: Text, unit: str, rate: str, query: Query) -> heatmap.Panel:
    """How the values are spread, over time; ``rate`` is the unit of a cell."""
    return (
        heatmap.Panel()
        .title(title)
        .description(str(text))
        .unit(unit)
        .span(HALF)
        .height(HEIGHT)
        .datasource(SOURCE)
        .targets([_ranged(query).format(PromQueryFormat.HEATMAP)])
        .calculate(not _ON)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .cell_values(heatmap.CellValues().unit(rate))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .exponent(0.5)
            .steps(64)
        )
        .scale_distribution(
            common.ScaleDistributionConfig().type(look.ScaleDistribution.LINEAR)
        )
        .exemplars_color("rgba(31,96,196,0.9)")
        .show_legend()
    )


def target(query: Query) -> queries.Dataquery:
    """What a panel asks Prometheus."""
    return (
        queries.Dataquery()
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend or "__auto")
    )


def _ranged(query: Query) -> queries.Dataquery:
    made = target(query).range()
    return made.exemplar(_ON) if query.exemplars else made
