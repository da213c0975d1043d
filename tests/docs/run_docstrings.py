"""Run the examples of every docstring of spanrun: `run_docstrings.py OUT`."""

import asyncio
import doctest
import importlib
import json
import pkgutil
import sys
import tempfile
from pathlib import Path

import spanrun

MODULES = {"asyncio": asyncio, "sr": spanrun, "tempfile": tempfile}


def main(target: str) -> None:
    names = {name: getattr(spanrun, name) for name in spanrun.__all__}
    ran: dict[str, int] = {}
    failed: list[str] = []
    for found in pkgutil.walk_packages(spanrun.__path__, "spanrun."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        finder = doctest.DocTestFinder(exclude_empty=True)
        globs = {**MODULES, **names, **vars(module)}
        for test in finder.find(module, globs=globs):
            if test.examples:
                ran[test.name] = runner.run(test, out=failed.append).attempted
        spanrun.shutdown()
    Path(target).write_text(json.dumps({"ran": ran, "failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1])
