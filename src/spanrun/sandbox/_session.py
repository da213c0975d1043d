"""`Session`: checked code in a fresh interpreter, in a process of its own.

A process for each call costs a few ms, and leaves nothing behind: neither for the
next call, nor when this one is cancelled. The package's blocking interface is used,
in a thread: the threads of its asynchronous one still touch Python while the
program exits, which aborted half of the programs that had used it (1.4.0).

This needs the extra: it is imported by those who have looked whether it is there.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from pydantic_monty import (
    NOT_HANDLED,
    Monty,
    MontyConversionError,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
    ResourceLimits,
)

from spanrun.descriptors import NONE_LEFT, exhausted, patiently
from spanrun.errors import ConfigurationError, SandboxError, SandboxLimit
from spanrun.sandbox._limits import Limits
from spanrun.sandbox._prelude import PRELUDE, TOO_MUCH

_GRACE: Final = 0.5
"""Seconds that the sandbox has to end by itself, before its process is killed."""

_ENDED: Final = (
    (TimeoutError, "time limit", "seconds"),
    (RuntimeError, "suspension limit", "sleep"),
    (MemoryError, "memory limit", "memory"),
    (RecursionError, "", "recursion"),
)
"""How the interpreter says which limit ended the code."""

_WHY: Final = {
    "seconds": "it ran too long",
    "sleep": "it slept too long, or too often",
    "memory": "it took too much memory",
    "recursion": "its calls nest too deep",
    "output": "it printed or gave back too much",
}


class Session:
    """One run of checked code. `run` blocks; `end`, from another thread, ends it.

    Args:
        source: The code.
        values: Copies of these go in, by name.
        limits: How much it may use.
        names: Whose values are to come back, as a dict, where they are data. None
            where the code is an expression: then its own value comes back.
    """

    def __init__(
        self,
        source: str,
        values: Mapping[str, Any],
        limits: Limits,
        names: Sequence[str] | None = None,
    ) -> None:
        self._begun = False
        self._source = source
        self._values = values
        self._limits = limits
        self._take = f"_take(_locals(), {names!r}, {limits.output})"
        if names is None:
            # On its own line, so that a comment can't swallow the parenthesis.
            self._source = f"_value = ({source}\n)"
            self._take = f"_give(_value, {limits.output})"
        self._printed: list[str] = []
        self._output_left = limits.output
        self._sleep_left = limits.sleep
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._why = ""
        self._pid: int | None = None

    def run(self) -> Any:
        """Run the code to its end.

        Raises:
            ConfigurationError: A value can't go in, or the extra is there in part.
            SandboxLimit: A limit was reached.
            SandboxError: The process died, or the expression's value isn't data.
            Exception: What the code raised.
        """
        with self._lock:
            self._refuse_if_over()
            self._begun = True
        value: Any = None
        try:
            why, value = patiently(
                self._in_process, math.inf, lacking=_no_descriptor, wait=self._wait
            )
            failure = self._refusal(why)
        except MontyError as error:
            failure = self._failure(error)
        except FileNotFoundError as error:  # of the package, but not the program
            failure = ConfigurationError(str(error))
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
        return value

    def _in_process(self) -> tuple[str, Any]:
        with (
            Monty(max_processes=1, feed_duration_limit_grace=_GRACE) as pool,
            pool.checkout(
                limits=_bounds(self._limits), os_policy={"sleep": "call_host"}
            ) as session,
        ):
            return self._feed(session)

    def _wait(self, seconds: float) -> None:
        self._over.wait(seconds)
        self._refuse_if_over()

    @property
    def printed(self) -> str:
        """All that was printed; nothing of what was ended."""
        return "" if self._over.is_set() else "".join(self._printed)

    def end(self, why: str) -> bool:
        """Kill the process, if it lives: ``why`` is the limit, or anything else.

        Returns:
            Whether `run` has begun; else it never makes a process.
        """
        with self._lock:
            self._why = self._why or why
            self._over.set()
            if self._pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGTERM)
            return self._begun

    def _refuse_if_over(self) -> None:
        if self._over.is_set():
            raise SandboxError("the code was ended before it began")

    def _feed(self, session: MontySession) -> tuple[str, Any]:
        with self._lock:
            self._refuse_if_over()
            self._pid = session.worker_pid
        try:
            session.feed_run(PRELUDE)
            self._enter(session)
            session.feed_run(self._source, print_callback=self._print, os=self._system)
            answer: tuple[str, Any] = session.feed_run(self._take)
            return answer
        finally:
            with self._lock:
                self._pid = None

    def _enter(self, session: MontySession) -> None:
        for name, value in self._values.items():
            if callable(value):
                raise ConfigurationError(
                    f"sandbox: {name!r} is {value!r}: only data can go in, no function"
                )
        try:
            session.feed_run("0", inputs=dict(self._values))
        except (MontyConversionError, MontyRuntimeError) as error:
            names = ", ".join(map(repr, self._values))
            raise ConfigurationError(
                f"sandbox: of the values given ({names}) one can't go in: {error}"
            ) from None

    def _print(self, _: str, text: str) -> None:
        self._output_left -= len(text)
        if self._output_left >= 0:
            self._printed.append(text)
        else:
            self.end("output")

    def _system(self, *, name: str, args: tuple[Any, ...], **_: object) -> Any:
        """Sleep, within the limit; anything else that code asks for it can't have."""
        if not name.endswith(".sleep"):
            return NOT_HANDLED
        self._sleep_left -= args[0]
        if self._sleep_left >= 0:
            self._over.wait(args[0])
        else:
            self.end("sleep")
        return None

    def _refusal(self, why: str) -> Exception | None:
        """Why a value can't leave, if it can't."""
        if self._why:
            return self._limit(self._why)
        if not why:
            return None
        if why == TOO_MUCH:
            return self._limit("output")
        return SandboxError(
            f"the value is a {why}, which can't leave the sandbox: make it numbers, "
            "texts, dates, or lists, tuples, sets and dicts of these"
        )

    def _failure(self, error: MontyError) -> Exception:
        """What is raised in place of ``error``."""
        if self._why:
            return self._limit(self._why)
        if isinstance(error, MontyCrashedError):
            if error.timed_out:
                return self._limit("seconds")
            return SandboxError(f"the sandbox's process died: {error}")
        raised = error.exception()
        # Or its text, up to a third of `memory`, would live as long as this one.
        raised.__cause__ = raised.__context__ = None
        text = str(raised)
        for kind, words, name in _ENDED:
            if isinstance(raised, kind) and words in text:
                return self._limit(name)
        if len(text) > self._limits.output:
            text = text[: self._limits.output] + "…"
            raised.args = (text,)
        if not isinstance(raised, Exception) or isinstance(raised, StopIteration):
            # One would end the program; the other can't leave a coroutine.
            raised = SandboxError(f"the code raised {type(raised).__name__}: {text}")
        if isinstance(error, MontyRuntimeError | MontySyntaxError):
            frames = error.traceback()
            if frames:
                raised.add_note(f"sandbox: line {frames[-1].line}")
        return raised

    def _limit(self, name: str) -> SandboxError:
        if name not in _WHY:
            return SandboxError(f"the code was ended: {name}")
        allowed = getattr(self._limits, name)
        return SandboxLimit(f"{_WHY[name]}: {name}={allowed} is the limit", name)


def _no_descriptor(error: Exception) -> bool:
    """Whether the process couldn't be made for want of one; the code hasn't run."""
    if isinstance(error, MontyError):
        return False
    text = str(error)  # the extension says it in the words of Rust
    return exhausted(error) or any(f"(os error {code})" in text for code in NONE_LEFT)


def _bounds(limits: Limits) -> ResourceLimits:
    return {
        "max_feed_duration_secs": limits.seconds,
        "max_memory": limits.memory,
        "max_recursion_depth": limits.recursion,
    }
