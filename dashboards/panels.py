"""The kinds of panel that the dashboards are made of, and what each must have.

Whoever reads a panel at night has three questions: what is this, is it bad, and
what do I do? So each one takes a `Text` with the three answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from spanrun import semconv
from spanrun.slo.promql import label

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
_HEIGHT: Final = 9
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


_PLAIN: Final = (
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


@dataclass(frozen=True, slots=True)
class Column:
    """One number of each row of a table.

    Attributes:
        head: What heads it.
        unit: Of its values.
        expr: PromQL, which gives one value for each row.
        limits: From which values on it is marked.
    """

    head: str
    unit: str
    expr: str
    limits: Limits | None = None


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
        .height(_HEIGHT)
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
        .targets([_target(query).instant()])
        .graph_mode(look.BigValueGraphMode.NONE)
        .color_mode(look.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel.thresholds(limits.steps() if limits else _PLAIN)


def heat(title: str, text: Text, unit: str, rate: str, query: Query) -> heatmap.Panel:
    """How the values are spread, over time; ``rate`` is the unit of a cell."""
    return (
        heatmap.Panel()
        .title(title)
        .description(str(text))
        .unit(unit)
        .span(HALF)
        .height(_HEIGHT)
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


def rows(
    title: str,
    text: Text | str,
    unit: str,
    query: Query,
    columns: Sequence[tuple[str, str]],
    value: str,
    *,
    width: int = HALF,
    searches: Sequence[Search] = (),
    to: Sequence[Place | Book] = (),
) -> table.Panel:
    """A table for the time shown, the largest value first.

    ``columns`` are attributes, with what heads the column of each; ``value`` heads
    that of the values. ``searches`` are links of the columns of their attributes.
    """
    names = {label(attribute): head for attribute, head in columns}
    heads = dict(columns)
    names["Value"] = value
    panel = (
        _table(title, text, width)
        .unit(unit)
        .targets([_target(query).instant().format(PromQueryFormat.TABLE)])
        .with_transformation(_organized(names))
        .sort_by([_falling(value)])
        .links([place.link() for place in to])
    )
    for search in searches:
        link = search.link(heads[semconv.SERVICE_NAME])
        panel.override_by_name(
            heads[search.attribute], [DynamicConfigValue("links", [link])]
        )
    return panel


def compared(
    title: str,
    text: Text,
    row: Sequence[tuple[str, str]],
    columns: Sequence[Column],
    sort: Sequence[str],
    chosen: Sequence[Place] = (),
) -> table.Panel:
    """A table with many numbers for each set of attributes' values, over all columns.

    ``row`` are the attributes, with what heads the column of each; ``sort`` are the
    heads of the columns that decide the order, the largest values first; ``chosen``
    are dashboards of which a click on the first attribute shows its value alone.
    """
    names = {label(attribute): head for attribute, head in row}
    attribute, head = row[0]
    for letter, column in zip(ascii_uppercase, columns, strict=False):
        names[f"Value #{letter}"] = column.head
    panel = (
        _table(title, text, WHOLE)
        .targets(
            [
                _target(Query(column.expr)).instant().format(PromQueryFormat.TABLE)
                for column in columns
            ]
        )
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_organized(names))
        .sort_by([_falling(each) for each in sort])
    )
    if chosen:
        links = [
            {"title": place.title, "url": place.url(label(attribute))}
            for place in chosen
        ]
        panel.override_by_name(head, [DynamicConfigValue("links", links)])
    for column in columns:
        settings = [DynamicConfigValue("unit", column.unit)]
        if column.limits:
            colours: object = {"type": "color-text"}
            steps = column.limits.steps().build()
            settings += [
                DynamicConfigValue("thresholds", steps),
                DynamicConfigValue("custom.cellOptions", colours),
            ]
        panel.override_by_name(column.head, settings)
    return panel


def _table(title: str, text: Text | str, width: int) -> table.Panel:
    return (
        table.Panel()
        .title(title)
        .description(str(text))
        .span(width)
        .height(_HEIGHT)
        .datasource(SOURCE)
        .align(look.FieldTextAlignment.AUTO)
        .thresholds(_PLAIN)
    )


def _organized(names: Mapping[str, str]) -> DataTransformerConfig:
    """The columns of these fields, in their order, with what heads each."""
    return DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {"Time": True},
            "renameByName": names,
            "indexByName": {name: place for place, name in enumerate(names)},
        },
    )


def _falling(head: str) -> common.TableSortByFieldState:
    return common.TableSortByFieldState().display_name(head).desc(_ON)


def _target(query: Query) -> queries.Dataquery:
    return (
        queries.Dataquery()
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend or "__auto")
    )


def _ranged(query: Query) -> queries.Dataquery:
    target = _target(query).range()
    return target.exemplar(_ON) if query.exemplars else target
