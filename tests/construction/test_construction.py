"""What can't work is refused at once, by name and value: every public parameter.

A parameter that is added has no row in `tests.construction.table`, which fails here.
"""

import asyncio
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from tests.construction import table, walk
from tests.construction.values import Coroutine, Kind, Wrong

import spanrun as sr
from spanrun.checks import shown

PARAMETERS = walk.parameters()
ROWS = [
    pytest.param(subject, name, kind, id=f"{subject}-{name}")
    for subject, rows in table.ROWS.items()
    for name, kind in rows.items()
]


async def a_coroutine() -> None:
    pass


def call(subject: str, name: str, value: Any) -> None:
    """Call ``subject`` with good arguments but one."""
    if isinstance(value, Coroutine):
        value = a_coroutine()
    called = table.SUBJECTS[subject]
    if inspect.iscoroutinefunction(called):
        asyncio.run(called(**{name: value}))
    else:
        called(**{name: value})


def refusal(subject: str, name: str, value: Any) -> str:
    """What is amiss with how ``value`` is refused; empty where nothing is."""
    given = value.value if isinstance(value, Wrong) else value
    try:
        call(subject, name, given)
    except sr.ConfigurationError as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001 -- told, beside those of other values
        return f"{value!r}: {error!r}"
    else:
        return f"{value!r}: accepted"
    told = value.told if isinstance(value, Wrong) else shown(value)
    if isinstance(value, Coroutine):
        told = repr(value)
    named = re.search(rf"\b{name}\b", said) or (subject, name) in table.UNNAMED
    hidden = told is None and (not given or str(given) not in said)
    if named and (hidden or (told is not None and told in said)):
        return ""
    return f"{value!r}: says {said!r}"


@pytest.mark.parametrize("subject", sorted(PARAMETERS))
def test_every_public_parameter_has_a_row(subject: str) -> None:
    if subject in table.UNCHECKED:
        return
    missing = {
        name
        for name in PARAMETERS[subject]
        if name not in table.ROWS.get(subject, {})
        and f"{subject}.{name}" not in table.UNCHECKED
    }
    assert not missing, f"{subject}: say in table.py what these refuse: {missing}"


def test_no_row_is_left_of_what_there_was() -> None:
    known = joined(PARAMETERS)
    assert joined(table.ROWS) <= known
    assert table.UNCHECKED.keys() <= known | PARAMETERS.keys()
    assert not joined(table.ROWS) & table.UNCHECKED.keys()


def joined(names: Mapping[str, Iterable[str]]) -> set[str]:
    return {f"{subject}.{name}" for subject in names for name in names[subject]}


@pytest.mark.parametrize(("subject", "name", "kind"), ROWS)
def test_what_cannot_work_is_refused_by_name_and_value(
    subject: str, name: str, kind: Kind
) -> None:
    assert kind.wrong
    amiss = [refusal(subject, name, value) for value in kind.wrong]
    assert not list(filter(None, amiss))


@pytest.mark.parametrize(("subject", "name", "kind"), ROWS)
def test_what_works_is_taken(subject: str, name: str, kind: Kind) -> None:
    for value in kind.right:
        call(subject, name, value)
