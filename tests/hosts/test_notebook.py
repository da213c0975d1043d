"""In a real kernel: a notebook runs on a loop that is running already."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import PATIENCE

for package in ("nbclient", "ipykernel"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

# Jupyter's and its sockets' own warnings are not ours to fix.
pytestmark = pytest.mark.filterwarnings("ignore")

DEFINE = """
import asyncio, contextvars, threading
import spanrun as sr
from spanrun.async_utils import asyncio_run, run_async_tasks, run_jobs

variable = contextvars.ContextVar("variable", default="unset")

async def double(number):
    await asyncio.sleep(0)
    return number * 2

async def map_all():
    async with sr.Runner("cells", limit=4) as runner:
        return await runner.map(double, range(5))
"""
SCENARIOS = """
from tests.hosts.scenarios import ALL
for scenario in ALL:
    await scenario()
len(ALL)
"""


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs cells in one kernel, and gives the last line of what each has shown."""
    import nbclient  # noqa: PLC0415 -- a slow import
    import nbformat  # noqa: PLC0415 -- the same

    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    book = nbformat.v4.new_notebook()
    client = nbclient.NotebookClient(book, timeout=int(PATIENCE), kernel_name="python3")

    async def execute(
        *sources: str, meanwhile: Any = None, allow_errors: bool = False
    ) -> list[str]:
        client.allow_errors = allow_errors
        async with client.async_setup_kernel():
            shown: list[str] = []
            for index, source in enumerate((DEFINE, *sources)):
                book.cells.append(nbformat.v4.new_code_cell(source))
                running = client.async_execute_cell(book.cells[index], index)
                if meanwhile is not None and index == len(sources):
                    running = asyncio.gather(running, meanwhile(client))
                await running
                shown.append(text_of(book.cells[index]))
            return shown[1:]

    return lambda *sources, **options: asyncio.run(execute(*sources, **options))


def text_of(cell: Any) -> str:
    parts: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.append(output.ename)
        else:
            parts.append(output.data["text/plain"])
    return "\n".join(part.strip() for part in parts)


def test_cells_await_a_runner_or_run_one_beside_the_loop(notebook):
    shown = notebook(
        "await map_all()",
        "sr.run(map_all())",
        "asyncio_run(map_all())",
        "run_async_tasks([double(1), double(2)])",
        "await run_jobs([double(1), double(2)])",
    )

    assert shown == ["[0, 2, 4, 6, 8]"] * 3 + ["[2, 4]"] * 2


def test_progress_is_a_line_in_the_cell_without_escapes(notebook):
    report = (
        "async with sr.Runner('{}', observers=[sr.Progress(bars=False)]) as runner:\n"
    )
    awaited = report.format("awaited") + "    await runner.map(double, range(5));"
    beside = f"async def main():\n    {awaited.replace('awaited', 'beside')}".replace(
        "\n    await", "\n        await"
    )
    shown = notebook(awaited, f"{beside}\nsr.run(main())")

    for name, text in zip(("awaited", "beside"), shown, strict=True):
        assert text.startswith(f"{name}: 5/5 · ")
        assert text.isprintable(), "one line: no bar, no colour, no carriage return"


def test_progress_is_a_bar_where_there_are_widgets(notebook):
    shown = notebook(
        """
        async def main():
            async with sr.Runner("<b>{n}") as runner:
                return await runner.map(double, range(5), progress=True)

        from ipywidgets import FloatProgress, HTML
        from ipywidgets.widgets.widget import _instances

        def all_of(kind):
            return [each for each in _instances.values() if type(each) is kind]

        def state():
            bars = all_of(FloatProgress)
            bars = [(bar.value, bar.max, bar.bar_style) for bar in bars]
            return bars, sorted(text.value for text in all_of(HTML))
        """,
        "await main(); None",
        "state()",
        "sr.run(main()); None",
        "len(state()[0])",
    )

    assert "5/5" in shown[1] or "0/5" in shown[1], "as text, for who has no widgets"
    assert "[(5.0, 5.0, 'success')]" in shown[2]
    assert "&lt;b&gt;{n}" in shown[2]
    assert "<b>" not in shown[2]
    assert shown[4] == "2"


def test_every_scenario_holds_in_a_cell(notebook):
    shown = notebook(SCENARIOS)

    assert int(shown[0]) > 5


def test_context_variables_go_into_run_and_come_out(notebook):
    shown = notebook(
        """
        async def change():
            before = variable.get()
            variable.set("inside")
            return before

        variable.set("outside")
        sr.run(change()), variable.get()
        """
    )

    assert shown == ["('outside', 'inside')"]


def test_an_open_runner_is_used_by_later_cells(notebook):
    shown = notebook(
        "runner = sr.Runner('cells'); await runner.__aenter__(); None",
        "await runner.map(double, [1, 2])",
        "await runner.call(double, 21)",
        "await runner.__aexit__(None, None, None)",
    )

    assert shown[1:3] == ["[2, 4]", "42"]


def test_stopping_a_cell_cancels_what_run_runs_and_waits_for_it(notebook):
    slow = """
        async def slow():
            print("running", flush=True)
            try:
                async with sr.Runner("cells") as runner:
                    await runner.map(asyncio.sleep, [60] * 3)
            finally:
                await asyncio.sleep(0.1)
                print("cleaned", threading.active_count() > 0, flush=True)

        sr.run(slow())
        """

    async def stop(client: Any) -> None:
        cell = client.nb.cells[1]
        while "running" not in text_of(cell):  # noqa: ASYNC110 -- a kernel says it
            await asyncio.sleep(0.05)
        await client.km.interrupt_kernel()

    shown = notebook(slow, meanwhile=stop, allow_errors=True)

    # The kernel hands on a line in pieces.
    assert shown[0].split() == ["running", "cleaned", "True", "KeyboardInterrupt"]
