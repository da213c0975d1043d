"""How items, results and errors get from one process of ours to another: by pickle.

Nothing is unpickled that comes from elsewhere than the own parent, or own workers.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from multiprocessing import spawn
from pathlib import Path
from traceback import format_exception
from typing import Any, Final

from spanrun.causes import causes
from spanrun.errors import RemoteJobError

_PROTOCOL: Final = 5
_OWN: Final = "__main__"


def dumps(value: Any) -> bytes:
    """Pickle ``value``; functions and classes by their names."""
    return pickle.dumps(value, _PROTOCOL)


def loads(data: bytes) -> Any:
    """What `dumps` was given."""
    return pickle.loads(data)  # noqa: S301 -- see above


def where_we_are() -> dict[str, Any]:
    """What a worker needs to find the same modules: as `multiprocessing` has it."""
    here = os.getcwd()  # noqa: PTH109 -- a text, which may be of a deleted folder
    main = sys.modules.get(_OWN)
    name = getattr(getattr(main, "__spec__", None), "name", None)
    path = getattr(main, "__file__", None)
    module: dict[str, str] = {}
    if name is not None:
        module["init_main_from_name"] = name
    elif path is not None:
        module["init_main_from_path"] = str(Path(here, path))
    return {
        "sys_path": [each or here for each in sys.path],
        "sys_argv": list(sys.argv),
        "dir": here,
        "module": module,
    }


class Finder:
    """Unpickles in a worker, where ``__main__`` is another module than the driver's.

    The driver's is imported, as ``__mp_main__``, when something of it is needed, so it
    must not run anything by that: ``if __name__ == "__main__":``.

    Args:
        main: What `where_we_are` gave.
    """

    def __init__(self, main: Mapping[str, Any]) -> None:
        sys.path += [each for each in main["sys_path"] if each not in sys.path]
        sys.argv = main["sys_argv"]
        with suppress(OSError):  # it may be another machine
            os.chdir(main["dir"])
        self._main: dict[str, Any] | None = dict(main["module"])

    def loads(self, data: bytes) -> Any:
        """What was pickled in the driver."""
        if self._main is None or _OWN.encode() not in data:
            return pickle.loads(data)  # noqa: S301 -- see above
        return _Unpickler(data, self._import_main).load()

    def _import_main(self) -> None:
        main, self._main = self._main, None
        if main:
            spawn.prepare(main)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, import_main: Callable[[], None]) -> None:
        super().__init__(io.BytesIO(data))
        self._import_main: Final = import_main

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == _OWN:
            self._import_main()
        return super().find_class(module_name, global_name)


def error_bytes(error: BaseException) -> bytes:
    """Pickle ``error`` and what caused it, with where it was raised as a note.

    A traceback can't be pickled. Nor can some errors, or they can't be read again:
    instead of such a one a `RemoteJobError` is sent, and of such causes the text alone.
    """
    told = "".join(["in its worker:\n", *format_exception(error)]).rstrip()
    notes = [*getattr(error, "__notes__", ()), told]
    first, *others = causes(error)
    data = _kept(first, notes)
    if data is None:
        remote = RemoteJobError(name_of(error), str(error), told)
        remote.__notes__ = notes
        return dumps([dumps(remote)])
    chain = [data]
    for each in others:
        data = _kept(each, list(getattr(each, "__notes__", ())))
        if data is None:
            break
        chain.append(data)
    return dumps(chain)


def error_of(data: bytes) -> BaseException:
    """The error that `error_bytes` was given."""
    try:
        errors: list[BaseException] = [loads(each) for each in loads(data)]
    except Exception as broken:  # noqa: BLE001 -- a class that only the worker has
        return RemoteJobError(name_of(broken), str(broken))
    for each, cause in pairwise(errors):
        each.__cause__ = cause
    return errors[0]


def _kept(error: BaseException, notes: list[str]) -> bytes | None:
    """Pickle ``error``; None where it would not come back."""
    try:
        again = loads(dumps(error))
        if type(again) is not type(error):
            return None
        if notes:
            again.__notes__ = notes
        return dumps(again)
    except Exception:  # noqa: BLE001 -- whatever its class does there
        return None


def name_of(error: BaseException) -> str:
    """The name of its class, as ``error.type`` has it."""
    kind = type(error)
    if kind.__module__ in ("builtins", "asyncio.exceptions"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
