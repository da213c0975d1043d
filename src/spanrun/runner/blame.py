"""`blames_items`: whether a batch may have failed because of some of its items."""

from __future__ import annotations

from typing import Literal, TypeAlias

from spanrun.causes import causes
from spanrun.errors import (
    OF_WHAT_WAS_SENT,
    CheckpointError,
    ConfigurationError,
    Rejected,
    ServiceError,
)
from spanrun.policies.overload import On, matches, overloaded, status_of

SplitOn: TypeAlias = On | Literal[False] | None
"""Errors of a batch whose halves are tried; None: those that `blames_items` says."""


class WrongAnswer(ValueError):  # noqa: N818 -- the user sees a `ValueError`
    """A batch's function gave something else than one value for each item."""


def blames_items(error: Exception) -> bool:
    """Whether ``error`` may lie in single items, so that the others may be saved.

    An HTTP status decides where there is one: 400, 413 and 422 are about what was
    sent. It is not about the items when the service can't be reached, is overloaded,
    refuses us or gives an unusable answer, nor when spanrun refused the call.
    Anything else may be: a record without a field, a text that can't be parsed.

    Example:
        >>> blames_items(KeyError("name")), blames_items(ConnectionError("refused"))
        (True, False)
    """
    ours = CheckpointError | ConfigurationError | Rejected | WrongAnswer
    if isinstance(error, ours):
        return False
    for why in causes(error):
        if isinstance(why, ServiceError):
            return why.blames_request
        status = status_of(why)
        if status is not None:
            return status in OF_WHAT_WAS_SENT
    return not any(
        isinstance(why, Exception) and overloaded(why) for why in causes(error)
    )


def splits(split_on: SplitOn, error: Exception) -> bool:
    """Whether the halves of a batch that failed by ``error`` are to be tried."""
    if split_on is None:
        return blames_items(error)
    return split_on is not False and matches(split_on, error)
