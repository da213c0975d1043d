"""The example notebooks run from top to bottom, and are kept without outputs."""

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest
from tests.programs import is_setting

for package in ("nbclient", "ipykernel", "nbformat", "wordllama", "apsw"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

# Jupyter's and its sockets' own warnings are not ours to fix.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
BOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))

ONLY_LOOPBACK = """
import sys, warnings
def refuse(event, args):
    if event in {"socket.connect", "socket.bind"} and isinstance(args[1], tuple):
        assert args[1][0] in {"127.0.0.1", "::1", "localhost"}, args
    if event == "socket.getaddrinfo":
        assert args[0] in {"127.0.0.1", "::1", "localhost"}, args
sys.addaudithook(refuse)
# As pytest has it here, but for what Jupyter itself warns of.
warnings.filterwarnings("error", module=r"spanrun|__main__")
"""


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Executes a notebook in a kernel of its own, which may use loopback alone."""
    import nbclient  # noqa: PLC0415 -- a slow import
    import nbformat  # noqa: PLC0415 -- the same

    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in os.environ:
        if is_setting(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")

    def execute(path):
        book = nbformat.read(path, as_version=4)
        book.cells.insert(0, nbformat.v4.new_code_cell(ONLY_LOOPBACK))
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(
            book, timeout=120, kernel_name="python3", resources=resources
        ).execute()
        return book

    return execute


def shown(book, kind):
    """What the cells have shown: what was printed, or their values as ``kind``."""
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                yield output.text if kind == "stream" else ""
            else:
                yield output.data.get(kind, "")


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    book = json.loads(path.read_text("utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]

    assert code
    assert all(cell["outputs"] == [] for cell in code)
    assert all(cell["execution_count"] is None for cell in code)
    assert not re.search(r"/home/|/Users/|/tmp/|https?://", json.dumps(book))


def test_documents_are_ingested_by_a_loop_and_by_a_pipeline(executed):
    book = executed(ROOT / "examples" / "notebooks" / "ingest-documents.ipynb")

    text = "".join(shown(book, "stream"))
    assert "30 documents stored" in text
    assert "× as fast" in text
    assert "\x1b" not in text
    report = "".join(shown(book, "text/html"))
    assert "embed-one-by-one" in report
    assert "split" in report


def test_a_slow_fan_out_is_followed_to_the_job_that_blocks(executed):
    book = executed(ROOT / "examples" / "notebooks" / "slow-fan-out.ipynb")

    text = "".join(shown(book, "stream"))
    assert "job 7: busy" in text or "job 37: busy" in text
    assert "spanrun.loop.blocked" in text
    assert "p95 before" in text
    assert "\x1b" not in text
    report, outcome, compared = filter(None, shown(book, "text/html"))
    assert "loop_lag" in report
    assert "loop_lag" in outcome
    assert "tickets-mended" in compared


def test_there_is_a_test_for_each_notebook():
    source = Path(__file__).read_text("utf-8")

    assert BOOKS
    assert all(f'"{path.name}")' in source for path in BOOKS)
