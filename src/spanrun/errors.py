"""What can go wrong, as one tree.

::

    SpanrunError
    ├── ConfigurationError    also a ValueError: a setting or argument is wrong
    ├── Rejected              the job was never started
    │   ├── CircuitOpen       the breaker is open
    │   └── ShuttingDown      the runner is closing or closed
    ├── DeadlineExceeded      also a TimeoutError: an attempt's or a job's time is up
    ├── JobCancelled          the job cancelled itself
    ├── ServiceError          a service gave no answer, an error, or nonsense
    │   ├── EmbeddingError    also a ValueError
    │   └── StoreError        also a ValueError
    ├── SandboxError          code in the sandbox failed
    │   ├── UnsafeCode        also a RuntimeError: refused before it ran
    │   └── SandboxLimit      it used more time, memory or output than allowed
    ├── CheckpointError       a checkpoint can't be used for this run
    └── RemoteJobError        a job failed in another process

The exceptions of a user's own code are never wrapped: they come out as they
were raised, with a note that says which job, attempt and wait they belong to.
"""

from __future__ import annotations

from typing import Final, Literal

_NOTEWORTHY: Final = 0.05  # seconds of a blocked event loop
OF_WHAT_WAS_SENT: Final = frozenset((400, 413, 422))
"""HTTP statuses of errors that lie in the request itself."""


class SpanrunError(Exception):
    """The root of every error that spanrun raises itself."""


class ConfigurationError(SpanrunError, ValueError):
    """A setting or an argument has a value that can't work."""


class Rejected(SpanrunError):  # noqa: N818 -- a refusal, not a fault
    """The job was refused before it started."""


class CircuitOpen(Rejected):
    """The circuit breaker is open: the service failed too often just now.

    Attributes:
        runner: Whose breaker it is.
        retry_after: Seconds until it tries the service again; 0 while it does.
    """

    def __init__(self, runner: str, retry_after: float) -> None:
        super().__init__(runner, retry_after)
        self.runner = runner
        self.retry_after = retry_after

    def __str__(self) -> str:
        then = f"in {self.retry_after:.3g} s" if self.retry_after else "just now"
        return (
            f"the circuit of {self.runner!r} is open, as its service failed too "
            f"often; it is tried again {then}"
        )


class ShuttingDown(Rejected):
    """The runner isn't open any more: it is closing, or closed."""


class DeadlineExceeded(SpanrunError, TimeoutError):  # noqa: N818 -- gRPC's word
    """The time for an attempt or for the whole job was up.

    Attributes:
        scope: ``"attempt"`` or ``"total"``: whose time was up.
        seconds: The time that was allowed.
        elapsed: Seconds after which it was cancelled.
        blocked: Seconds of them in which the event loop was blocked.
    """

    def __init__(
        self,
        scope: Literal["attempt", "total"],
        seconds: float,
        elapsed: float = 0.0,
        blocked: float = 0.0,
    ) -> None:
        super().__init__(scope, seconds, elapsed, blocked)
        self.scope: Literal["attempt", "total"] = scope
        self.seconds = seconds
        self.elapsed = elapsed
        self.blocked = blocked

    def __str__(self) -> str:
        whose = "one attempt" if self.scope == "attempt" else "the whole job"
        what = f"{self.seconds:g} s for {whose} were up: Timeout({self.scope}=…)"
        if self.blocked < _NOTEWORTHY:
            return what
        left = max(0.0, self.elapsed - self.blocked)
        return (
            f"{what}; it had {left:.3g} s of {self.elapsed:.3g}, as the event loop was "
            f"blocked for {self.blocked:.3g} s of them"
        )


class JobCancelled(SpanrunError):  # noqa: N818 -- an outcome, not a fault
    """The job cancelled itself, or something inside it did."""


class ServiceError(SpanrunError):
    """A service gave no answer, an error, or something unexpected.

    Attributes:
        status: The HTTP status, where there was one.
        retry_after: Seconds the service asked to wait, where it did.
        body: The first part of the answer's body.
        final: Asking once more does harm: no `Retry` does, and no batch is halved.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        body: str = "",
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body = body
        self.final = final

    @property
    def blames_request(self) -> bool:
        """Whether it lies in what was sent: the parts of it may fare better.

        Not so where the service is down, busy, elsewhere, or refuses us.
        """
        return not self.final and self.status in OF_WHAT_WAS_SENT


class EmbeddingError(ServiceError, ValueError):
    """An embedding endpoint failed, or answered with unusable vectors.

    Attributes:
        partial: Where a batch failed: a vector for each text, in order, and None where
            there is none yet. Other errors of a batch have it as well.
    """

    partial: list[list[float] | None] | None = None


class StoreError(ServiceError, ValueError):
    """A store failed: of documents, or of telemetry where that is read."""


class SandboxError(SpanrunError):
    """Code in the sandbox failed."""


class UnsafeCode(SandboxError, RuntimeError):  # noqa: N818 -- says what it is
    """The code was refused before it ran.

    Attributes:
        line: Where in the code, from 1; 0 where it isn't one place.
        column: In that line, from 1; 0 where it isn't one place.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class SandboxLimit(SandboxError):  # noqa: N818 -- says what it is
    """The code used more time, memory or output than it was allowed.

    Attributes:
        limit: Which one, by the name of its keyword: ``"seconds"``.
    """

    def __init__(self, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class CheckpointError(SpanrunError):
    """A checkpoint can't be used for this run, or can't be written any more.

    Attributes:
        reason: ``"mismatch"``: it is of other items, another function or another
            spanrun; ``"locked"``: another run uses it; ``"disk"``: the file can't be
            read or written; ``"codec"``: a result can't be written.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["mismatch", "locked", "disk", "codec"] = "mismatch",
    ) -> None:
        super().__init__(message)
        self.reason = reason


class RemoteJobError(SpanrunError):
    """A job failed in another process, where its error stayed.

    Attributes:
        type_name: The name of the error's class.
        text: What it said.
        traceback: Where it was raised, as a text; may be empty.
    """

    def __init__(self, type_name: str, text: str, traceback: str = "") -> None:
        super().__init__(type_name, text, traceback)
        self.type_name = type_name
        self.text = text
        self.traceback = traceback
        if traceback:
            self.add_note(traceback)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}" if self.text else self.type_name
