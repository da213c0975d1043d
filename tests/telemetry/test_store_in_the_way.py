"""Whatever is the matter with the local store: the program runs, a line says so."""

import os

import pytest

pytestmark = pytest.mark.slow

RESULT = str([2 * number for number in range(20)])

LOCKED = """
import os, sqlite3
os.mkdir(".spanrun")
other = sqlite3.connect(".spanrun/telemetry.db", isolation_level=None)
other.execute("CREATE TABLE t (x)")
other.execute("BEGIN EXCLUSIVE")
"""
NO_DATABASE = """
import os, pathlib
os.mkdir(".spanrun")
pathlib.Path(".spanrun/telemetry.db").write_bytes(b"nonsense" * 1000)
"""
FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""

IN_THE_WAY = {
    "the folder is a file": ("open('.spanrun', 'w').close()", ".spanrun"),
    "locked by another": (LOCKED, ".spanrun"),
    "no database": (
        NO_DATABASE,
        ".spanrun",
    ),
    "a fifo": (
        "import os; os.mkdir('.spanrun'); os.mkfifo('.spanrun/telemetry.db')",
        ".spanrun",
    ),
    "a folder that may not be written": (
        "import os; os.mkdir('.spanrun', 0o500)",
        ".spanrun",
    ),
    "a folder in which nobody can make a file": ("", "/proc/self"),
    "no room": (FULL, ".spanrun"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_the_program_runs_and_one_line_says_what_is_amiss(run_program, case):
    if case == "a folder that may not be written" and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    before, folder = IN_THE_WAY[case]
    done = run_program(
        before + f"\nsr.configure(store={folder!r})\n"
        "print(sr.run(work()))\n"
        "account = sr.telemetry.setup.telemetry().store.account\n"
        "print(sr.shutdown(), account.delivered, sum(account.dropped.values()))\n"
    )
    assert done.code == 0, done.err
    # 20 jobs and their spans; the run and its span, at its beginning and at its end.
    assert done.out == f"{RESULT}\nFalse Counter() 43\n"
    (line,) = done.err.splitlines()
    assert line.startswith(f"spanrun's local store {folder}/telemetry.db ")


def test_what_goes_elsewhere_gets_there(run_program, collector):
    done = run_program(
        "open('.spanrun', 'w').close()\n"
        f"sr.configure(endpoint={collector.url!r}, store='.spanrun')\n"
        "print(sr.run(work()))\n"
        "print(sr.shutdown())\n",
        SPANRUN_SPOOL="spool",
    )
    assert (done.code, done.out) == (0, f"{RESULT}\nFalse\n")
    assert len(done.err.splitlines()) == 1
    assert len(collector.spans("job work")) == 20


def test_a_wrong_argument_is_an_error(run_program):
    done = run_program("sr.configure(store=object())\n")
    assert done.code == 1
    assert "spanrun.errors.ConfigurationError: store=<object" in done.err
