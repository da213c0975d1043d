"""`Processors`: a provider's span processors, where other libraries look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor


class Processors(SynchronousMultiSpanProcessor):
    """The SDK's collection of processors, which says when it has others.

    Libraries add to ``provider._active_span_processor``, or set the tuple in it, past
    the provider.

    Args:
        changed: Called after each change.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed: Final = changed
        self.all: tuple[SpanProcessor, ...] = ()
        super().__init__()  # type: ignore[no-untyped-call] # the SDK's

    @property
    def _span_processors(self) -> tuple[SpanProcessor, ...]:
        return self.all

    @_span_processors.setter
    def _span_processors(self, given: Iterable[SpanProcessor]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] -- see above
        before, self.all = self.all, tuple(given)
        if self.all != before:
            self._changed()

    def after_fork(self) -> None:
        """In a child process: whoever held the lock isn't here."""
        self._lock = Lock()
