# The part in C: see native/. Whether it is in use, spanrun.speed says.

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, final

_T = TypeVar("_T")
_Fields = TypeVar("_Fields", bound=OkFields)

class Seconds:
    queue: float
    limit: float
    rate_limit: float
    backoff: float
    busy: float
    loop_lag: float
    duration: float
    submitted: float
    def begin(self, now: float, /) -> None: ...
    def end(self, now: float, /) -> None: ...
    def parts(self) -> tuple[float, float, float, float, float, float, float]: ...

class OkFields: ...

def filled(
    kind: type[_Fields],
    index: int,
    value: Any,
    timings: Any,
    attempts: int,
    key: Any,
    trace_id: int,
    /,
) -> _Fields: ...

class Lag:
    threshold: float
    shown: int
    mark: Any
    @property
    def stepping(self) -> Drive | None: ...

@final
class Drive(Generator[Any, Any, Any]):
    @property
    def coroutine(self) -> Any: ...
    @property
    def job(self) -> Any: ...
    @property
    def now(self) -> Callable[[], float]: ...
    @property
    def began(self) -> float: ...
    @property
    def outer(self) -> Drive | None: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, *error: Any) -> Any: ...
    def close(self) -> None: ...

@final
class CallStep:
    def __init__(
        self, lag: Lag, now: Callable[[], float], other: Callable[[Any, Any], Any]
    ) -> None: ...
    def __call__(self, job: Any, /) -> Awaitable[Any]: ...

class Slots:
    used: int
    limit: int
    places: list[Any]
    def take(self) -> bool: ...
    def release(self) -> None: ...
    def wake(self) -> None: ...

@final
class Attempt(Generator[Any, Any, Any]):
    @property
    def coroutine(self) -> Any: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, *error: Any) -> Any: ...
    def close(self) -> None: ...

@final
class FirstAttempts:
    firsts: int
    def __init__(
        self,
        inner: Callable[[Any], Any],
        slots: Slots | None,
        retry: Callable[[Any], Any],
        again: Callable[[Any, Any], Awaitable[Any] | None],
    ) -> None: ...
    def __call__(self, job: Any, /) -> Attempt: ...

class FirstStep:
    def __await__(self) -> Generator[None]: ...

numbers: object  # a capsule, by which the part in Rust reads a `Seconds`

def drive(
    coroutine: Coroutine[Any, Any, _T],
    job: Any,
    lag: Lag,
    now: Callable[[], float],
    /,
) -> Awaitable[_T]: ...
