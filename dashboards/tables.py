"""The tables that the dashboards have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.panels import (
    HALF,
    HEIGHT,
    PLAIN,
    SOURCE,
    WHOLE,
    Book,
    Limits,
    Place,
    Query,
    Search,
    Text,
    target,
)
from spanrun import semconv
from spanrun.slo.promql import label

_ON: Final = True  # the SDK has no keywords for its switches


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
        .targets([target(query).instant().format(PromQueryFormat.TABLE)])
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
                target(Query(column.expr)).instant().format(PromQueryFormat.TABLE)
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
        .height(HEIGHT)
        .datasource(SOURCE)
        .align(look.FieldTextAlignment.AUTO)
        .thresholds(PLAIN)
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
