"""`Timings`, whether its numbers are compiled or not."""

import copy
import inspect
import pickle

import pytest

from spanrun.outcome import Timings


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
