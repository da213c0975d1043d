"""`Timings`, whether its numbers are compiled or not."""

import copy
import dataclasses
import gc
import inspect
import pickle
import weakref

import pytest

from spanrun.outcome import Err, Ok, Timings
from spanrun.speed import FAST, filled


def test_timings_are_made_without_arguments():
    assert str(inspect.signature(Timings)) == "()"
    with pytest.raises(TypeError, match=r"Timings\(\) takes no arguments"):
        Timings(0.5)
    with pytest.raises(TypeError, match=r"Timings\(\) takes no arguments"):
        Timings(queue=0.5)


@pytest.mark.parametrize("again", [copy.copy, lambda t: pickle.loads(pickle.dumps(t))])  # noqa: S301 -- ours
def test_timings_can_be_copied_and_pickled(again):
    timings = Timings()
    timings.queue, timings.busy, timings.duration = 0.25, 0.5, 1.0
    timings.submitted = 7.5
    assert repr(again(timings)) == repr(timings)
    assert again(timings).service == 0.25
    assert again(timings).submitted == 7.5


def test_timings_show_the_longest_part_first_and_none_that_is_zero():
    timings = Timings()
    timings.queue, timings.backoff, timings.duration = 0.25, 1e-5, 1.3125
    assert (
        repr(timings)
        == "Timings(1.31 s: service 1.06 s, queue 250 ms, backoff 10.0 µs)"
    )
    assert repr(Timings()) == "Timings(0)"


def test_an_outcome_is_shown_on_one_line_with_what_is_not_usual():
    assert repr(Ok(3, "a", Timings())) == "Ok(index=3, value='a', duration=0)"
    trace_id = 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert repr(Err(3, ValueError("no"), Timings(), 2, "k", trace_id, "timed_out")) == (
        "Err(index=3, error=ValueError('no'), outcome='timed_out', key='k', "
        "attempts=2, duration=0, trace_id=4bf92f3577b34da6a3ce929d0e0e4736)"
    )


class Unusual:
    def __init__(self, shown):
        self.shown = shown

    def __repr__(self):
        if isinstance(self.shown, Exception):
            raise self.shown
        return self.shown


HOLDS_ITSELF = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000,
        list(range(10_000)),
        {number: [list(range(99))] * 99 for number in range(999)},
        10**5_000,
        HOLDS_ITSELF,
        Unusual("a\nb\x1b[31m" * 999),
        Unusual(RuntimeError("no repr")),
    ],
    ids=["str", "list", "dict", "int", "cycle", "lines", "raises"],
)
def test_a_value_that_is_long_or_odd_is_cut(value):
    shown = repr(Ok(1, value, Timings(), key=value))
    assert len(shown) < 200
    assert shown.isprintable()


def test_an_ok_is_a_dataclass_however_it_is_made():
    made = filled(Ok, 3, "a", Timings(), 2, "k", 7)
    wanted = Ok(3, "a", made.timings, attempts=2, key="k", trace_id=7)
    assert made == wanted
    assert list(inspect.signature(Ok).parameters) == list(Ok.__match_args__)
    assert [field.name for field in dataclasses.fields(made)] == list(Ok.__match_args__)
    assert dataclasses.replace(made, value="b").value == "b"
    assert repr(pickle.loads(pickle.dumps(made))) == repr(copy.copy(made)) == repr(made)  # noqa: S301 -- ours
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        Ok(3)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        made.other = 1
    del made.value
    with pytest.raises(AttributeError, match="value"):
        made.value  # noqa: B018 -- it raises


@pytest.mark.skipif(not FAST, reason="the part in C is not in use")
def test_the_garbage_collector_knows_an_ok_only_if_it_may_be_in_a_cycle():
    made = [filled(Ok, 3, value, Timings(), 1, None, 7) for value in ("a", 2.5, None)]
    assert not any(map(gc.is_tracked, [*made, Ok(3, "a", Timings())]))
    assert gc.is_tracked(filled(Ok, 3, {}, Timings(), 1, None, 7))
    assert gc.is_tracked(Ok(3, "a", Timings(), key=[]))
    made[0].value = ()
    assert gc.is_tracked(made[0])


class Kept:
    """What an outcome is the value of, and may refer to it."""


@pytest.mark.parametrize("make", [Ok, lambda *fields: filled(Ok, *fields, 1, None, 0)])
@pytest.mark.parametrize("when", ["made", "set"])
def test_an_ok_in_a_cycle_is_collected(make, when):
    kept = Kept()
    ended = make(0, kept if when == "made" else 1, Timings())
    ended.value = kept
    kept.outcome = ended
    gone = weakref.ref(kept)
    del kept, ended
    gc.collect()
    assert gone() is None
