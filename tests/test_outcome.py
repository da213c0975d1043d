"""`Timings`, whether its numbers are compiled or not."""

import copy
import inspect
import pickle

import pytest

from spanrun.outcome import Err, Ok, Timings


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
