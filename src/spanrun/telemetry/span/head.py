"""`HeadSampler`: the decision that is made when a trace begins, and handed down.

After "TraceState: Probability Sampling" of the OpenTelemetry specification. Of the
trace id the last 56 bits are random, or ``rv`` in the tracestate is. A trace is
drawn when that number reaches a threshold, so whoever draws with a lower ratio
draws from the same traces. What was drawn says so: flag ``sampled``, and
``ot=th:…`` in its tracestate, from which a backend knows how many it stands for.

What wasn't drawn is recorded all the same, without the flag and without ``th``:
`Tail` may keep it for what happens in it. Nobody can tell how many such a
trace stands for, and by the specification it must carry no threshold then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import (
    OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG,
)
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    TraceState,
    get_current_span,
)
from opentelemetry.util.types import Attributes

from spanrun.errors import ConfigurationError
from spanrun.telemetry.log import Log

_log: Final = Log(__name__)

_BITS: Final = 56
_DIGITS: Final = _BITS // 4
_NEVER: Final = 1 << _BITS
_RANDOM: Final = _NEVER - 1

_KEY: Final = "ot"
_TH: Final = re.compile(r"[0-9a-f]{1,14}")
_RV: Final = re.compile(r"[0-9a-f]{14}")
_MAX_LENGTH: Final = 256

_RATIOS: Final = {"traceidratio": False, "parentbased_traceidratio": True}


class HeadSampler(Sampler):
    """Draws traces by their ids, and records the others for a later decision.

    Args:
        ratio: Of the traces that are drawn, from 0 to 1.
        parent_based: Whether a span with a parent follows it. Else each process
            draws by its own ratio, from the same random number.

    Attributes:
        threshold: A trace is drawn when the last 56 bits of its id reach this.
        drawn: The tracestate of one that is drawn here.

    Raises:
        ConfigurationError: ``ratio`` isn't between 0 and 1.

    Example:
        >>> HeadSampler(0.25).get_description()
        'HeadSampler{ratio=0.25, th=c, parent_based=True}'
    """

    children_follow: Final = True  # for `NativeTracer`: below a span all is as above

    def __init__(self, ratio: float, *, parent_based: bool = True) -> None:
        if not 0 <= ratio <= 1:
            raise ConfigurationError(f"ratio={ratio!r}: must be between 0 and 1")
        self.ratio: Final = ratio
        self.threshold: Final = _NEVER - round(ratio * _NEVER)
        self._parent_based: Final = parent_based
        self._th: Final = _th(self.threshold)
        self.drawn: Final = TraceState([(_KEY, f"th:{self._th}")])

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> HeadSampler | None:
        """The one that ``OTEL_TRACES_SAMPLER`` asks for.

        None for the samplers that draw nothing, which are the SDK's: then each
        span is taken, or none is.
        """
        name = environ.get(OTEL_TRACES_SAMPLER, "").strip().lower()
        if name not in _RATIOS:
            return None
        said = environ.get(OTEL_TRACES_SAMPLER_ARG, "").strip()
        try:
            return cls(float(said or 1), parent_based=_RATIOS[name])
        except (ValueError, ConfigurationError):
            # The specification wants a warning and the default, not an error.
            _log.warning(
                "%s=%r: must be a number between 0 and 1; all traces are kept",
                OTEL_TRACES_SAMPLER_ARG,
                said,
            )
            return cls(1, parent_based=_RATIOS[name])

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002 -- OpenTelemetry's signature
        kind: SpanKind | None = None,  # noqa: ARG002 -- the same
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002 -- the same
        trace_state: TraceState | None = None,  # noqa: ARG002 -- the parent has it
    ) -> SamplingResult:
        """Whether the trace is drawn; it is recorded in either case."""
        parent = get_current_span(parent_context).get_span_context()
        if not parent.is_valid:
            drawn = trace_id & _RANDOM >= self.threshold
            state = self.drawn if drawn else None
        else:
            drawn, state = self._below(parent, trace_id)
        decision = Decision.RECORD_AND_SAMPLE if drawn else Decision.RECORD_ONLY
        return SamplingResult(decision, attributes, state)

    def get_description(self) -> str:
        """Its name and settings."""
        return (
            f"{type(self).__name__}{{ratio={self.ratio:g}, th={self._th}, "
            f"parent_based={self._parent_based}}}"
        )

    def _below(self, parent: SpanContext, trace_id: int) -> tuple[bool, TraceState]:
        state = parent.trace_state
        members = state.get(_KEY, "").split(";")
        random = _member(members, "rv:")
        explicit = random is not None and _RV.fullmatch(random)
        number = int(random or "", 16) if explicit else trace_id & _RANDOM
        if not self._parent_based:
            drawn = number >= self.threshold
            return drawn, _with_th(state, members, self._th if drawn else None)
        drawn, th = parent.trace_flags.sampled, _member(members, "th:")
        if th is None or (drawn and _TH.fullmatch(th) and number >= _threshold(th)):
            return drawn, state
        return drawn, _with_th(state, members, None)


def _th(threshold: int) -> str:
    """As ``th`` is written: 14 hexadecimal digits without zeros at the end."""
    if threshold == _NEVER:
        return "never"
    return f"{threshold:0{_DIGITS}x}".rstrip("0") or "0"


def _threshold(th: str) -> int:
    return int(th.ljust(_DIGITS, "0"), 16)


def _member(members: Sequence[str], key: str) -> str | None:
    """What stands behind ``key`` in the ``ot`` entry."""
    found = (each.removeprefix(key) for each in members if each.startswith(key))
    return next(found, None)


def _with_th(state: TraceState, members: Sequence[str], th: str | None) -> TraceState:
    """``state`` with that threshold, or without any; the rest of it as it was."""
    others = [each for each in members if each and not each.startswith("th:")]
    value = ";".join(others if th is None else (f"th:{th}", *others))
    if len(value) > _MAX_LENGTH:
        value = ";".join(others)
    if value == state.get(_KEY, ""):
        return state
    return state.update(_KEY, value) if value else state.delete(_KEY)
