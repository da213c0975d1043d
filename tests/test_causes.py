"""Errors of others may be circles, or without an end."""

from itertools import islice

import httpx
import pytest

from spanrun.causes import causes, leaves, origins
from spanrun.clients.http import transient


def test_causes_come_in_order_each_once():
    first, second = ValueError(1), KeyError(2)
    first.__cause__ = second
    assert list(causes(first)) == [first, second]
    second.__cause__ = first
    assert list(causes(first)) == [first, second]
    first.__cause__ = first
    assert list(causes(first)) == [first]


def test_leaves_are_what_is_in_groups():
    one, two = ValueError(1), KeyError(2)
    assert list(leaves(one)) == [one]
    group = ExceptionGroup("g", [one, ExceptionGroup("inner", [two, one])])
    assert list(leaves(group)) == [one, two, one]


class Endless(ExceptionGroup):
    """A group in which there is always another one."""

    @property
    def exceptions(self):
        return (Endless("again", [ValueError(1)]), ValueError(2))


class Circle(ExceptionGroup):
    @property
    def exceptions(self):
        return (self, ValueError(3))


def test_groups_without_an_end_are_looked_at_so_far():
    assert len(list(islice(leaves(Endless("g", [ValueError(1)])), 2_000))) < 2_000
    assert [str(e) for e in leaves(Circle("g", [ValueError(1)]))] == ["3"]
    assert len(list(origins(Endless("g", [ValueError(1)])))) <= 1_000
    assert len(list(origins(Circle("g", [ValueError(1)])))) <= 1_000


def test_origins_are_causes_members_and_arguments_each_once():
    told = httpx.ConnectError("failed")
    group = ExceptionGroup("g", [ValueError(1), told])
    inner = OSError("all failed")
    told.__cause__, inner.__cause__ = RuntimeError(inner), group
    expected = [told, told.__cause__, inner, group, group.exceptions[0]]
    assert list(origins(told)) == expected


@pytest.mark.parametrize("length", [1, 2])
def test_a_circle_of_causes_hangs_nobody(length):
    error, other = httpx.ConnectError("refused"), httpx.ReadError("reset")
    error.__cause__ = error if length == 1 else other
    other.__cause__ = error
    assert transient(error)
