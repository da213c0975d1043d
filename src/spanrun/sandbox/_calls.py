"""`safe_eval`, `safe_exec`, `asafe_eval`, `asafe_exec`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import CodeType
from typing import Any, TypeAlias, Unpack

from spanrun import checks, extras
from spanrun.runner.bridge import enter
from spanrun.sandbox._check import check
from spanrun.sandbox._limits import Keywords, Limits
from spanrun.telemetry.instrument import unit

Source: TypeAlias = str | bytes | CodeType


async def asafe_eval(
    source: Source,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 -- as `eval` has them
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    **limits: Unpack[Keywords],
) -> Any:
    """The value of an expression that nobody has read, as `eval` would give it.

    The code is looked at first, and refused with line and column when it imports
    what isn't allowed or says private or dunder names. Then it runs in an
    interpreter of its own (pydantic-monty), in a process of its own which lives as
    long as the call: it has no files, no network, no environment, no clock but the
    time of day. That is the wall; the look before gives the better messages.

    Copies of the values it names go in, and a copy of its value comes out: None,
    numbers, texts, bytes, dates, decimals, and lists, tuples, sets and dicts of
    these (a deque as a list, any mapping as a dict). Functions, classes, modules,
    instances and iterators stay inside.

    What the code raises comes out as that built-in exception, with a note of its
    line; `SystemExit`, `KeyboardInterrupt` and `StopIteration` as a `SandboxError`.
    Nothing of the code is put on the span.

    Cancelled, it ends the process and is gone. If this process is killed, the
    other one ends by itself: at the latest when ``seconds`` are over.

    Args:
        source: An expression.
        globals: Values by name, of which those that occur in ``source`` go in.
        locals: The same; these come first.
        **limits: The fields of `Limits`.

    Raises:
        UnsafeCode: It was refused before it ran: where and why.
        SandboxLimit: It used more than ``limits`` allow, and was ended.
        SandboxError: Its value can't leave the sandbox, or the process died.
        SyntaxError: It is no expression, or uses what the sandbox's Python lacks.
        ConfigurationError: The extra ``sandbox`` isn't installed, a limit is out of
            range, or a value can't go in.
        Exception: What the code raised.

    Example:
        >>> import asyncio
        >>> asyncio.run(asafe_eval("sum(prices) / len(prices)", {"prices": [1, 2]}))
        1.5
    """
    with _watched("sandbox eval"):
        chosen = Limits(**limits)
        given = _given(source, globals, locals)
        code = check(source, "eval", chosen.imports, given)
        values = {name: given[name] for name in code.used & given.keys()}
        return await _evaluate(code.source, values, chosen)


async def asafe_exec(
    source: Source,
    globals: MutableMapping[str, Any] | None = None,  # noqa: A002 -- as `exec`
    locals: MutableMapping[str, Any] | None = None,  # noqa: A002
    **limits: Unpack[Keywords],
) -> None:
    """Run statements that nobody has read, as `exec` would: see `asafe_eval`.

    Names that the code binds at its outermost level are set in ``locals``, or in
    ``globals`` where that is all there is. So are names from there whose values it
    used, as it may have changed its copies. Left out are functions, classes,
    modules and whatever else can't leave the sandbox. When the code fails, nothing
    is set.

    Args:
        source: Statements.
        globals: Values by name, of which those that occur in ``source`` go in.
        locals: The same; these come first, and take what comes out.
        **limits: The fields of `Limits`.

    Raises:
        Exception: As `asafe_eval`.

    Example:
        >>> import asyncio
        >>> names = {"text": "to be or not to be"}
        >>> asyncio.run(asafe_exec("words = len(text.split())", names))
        >>> names["words"]
        6
    """
    with _watched("sandbox exec"):
        chosen = Limits(**limits)
        given = _given(source, globals, locals)
        target = globals if locals is None else locals
        if target is not None and not isinstance(target, MutableMapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            name = "globals" if locals is None else "locals"
            raise checks.wrong("sandbox", name, target, "must be a dict")
        code = check(source, "exec", chosen.imports, given)
        values = {name: given[name] for name in code.used & given.keys()}
        names = code.bound | (code.used & (target or {}).keys())
        taken = await _evaluate(code.source, values, chosen, sorted(names))
        if target is not None:
            target.update(taken)


def safe_eval(
    source: Source,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 -- as `eval` has them
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    **limits: Unpack[Keywords],
) -> Any:
    """`asafe_eval`, from code that isn't async, also inside a running loop.

    Example:
        >>> safe_eval("max(scores) - min(scores)", {"scores": [3, 1, 4]})
        3
    """
    return enter("safe_eval", asafe_eval(source, globals, locals, **limits))


def safe_exec(
    source: Source,
    globals: MutableMapping[str, Any] | None = None,  # noqa: A002 -- as `exec`
    locals: MutableMapping[str, Any] | None = None,  # noqa: A002
    **limits: Unpack[Keywords],
) -> None:
    """`asafe_exec`, from code that isn't async, also inside a running loop.

    Example:
        >>> found = {}
        >>> safe_exec("squares = [n * n for n in range(4)]", {}, found)
        >>> found
        {'squares': [0, 1, 4, 9]}
    """
    enter("safe_exec", asafe_exec(source, globals, locals, **limits))


def _given(source: object, globals: object, locals: object) -> dict[str, Any]:  # noqa: A002
    """The values by name, once it is known that the arguments are what they must be."""
    if not isinstance(source, str | bytes | CodeType):
        raise checks.wrong("sandbox", "source", source, "must be a text")
    given: dict[str, Any] = {}
    for name, values in (("globals", globals), ("locals", locals)):
        if values is not None:
            given |= checks.mapping("sandbox", name, values, "names to values")
    return given


async def _evaluate(
    source: str,
    values: Mapping[str, Any],
    limits: Limits,
    names: Sequence[str] | None = None,
) -> Any:
    """Run a `Session` in a thread. Cancelled, it ends first, and then is gone."""
    extras.require("the sandbox", "pydantic_monty")
    from spanrun.sandbox._session import Session  # noqa: PLC0415 -- needs an extra

    session = Session(source, values, limits, names)
    loop = asyncio.get_running_loop()
    ending = loop.run_in_executor(None, copy_context().run, session.run)
    try:
        return await asyncio.shield(ending)
    finally:
        if not ending.done() and not session.end("cancelled"):
            ending.cancel()  # it waits for a thread
        while not ending.done():
            with suppress(asyncio.CancelledError):  # one is on its way already
                await asyncio.wait({ending})
        if not ending.cancelled():
            ending.exception()  # known: nobody has to be warned of it
        del ending  # it holds the error, whose traceback holds this frame
        if session.printed:
            limits.on_print(session.printed)


@contextmanager
def _watched(name: str) -> Generator[None]:
    """A unit around the call, whose span tells the error's kind but not its text.

    The text, or a syntax error's line, may be the code's.
    """
    watch = unit(name)
    watch.__enter__()
    seen: BaseException | None = None
    try:
        yield
    except Exception as error:
        seen = type(error).__new__(type(error))
        raise
    except BaseException as error:
        seen = error
        raise
    finally:
        watch.__exit__(None, seen, None)
