"""Items that kill the process: found, and left out at last; no neighbour is condemned.

Each round is a process that is forked from a program without threads.
"""

import json
import subprocess
import sys

import pytest
from tests.forking import needs_fork

PROGRAM = """
import asyncio, json, os, signal, sys
import spanrun as sr

path, mode, limit, rounds, crashes, *killers = sys.argv[1:]
killers = set(map(int, killers))
crashes = None if crashes == "none" else int(crashes)
log = os.open(path + ".log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
active = set()

async def one(item):
    active.add(item)
    os.write(log, f"{item} with {len(active)}\\n".encode())
    if item in killers:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.001)
    active.discard(item)
    return item

async def many(items):
    os.write(log, f"batch of {len(items)}\\n".encode())
    if killers & set(items):
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.001)
    return items

async def main():
    kept = sr.Checkpoint(path, max_crashes=crashes)
    async with sr.Runner("kept", limit=int(limit)) as runner:
        if mode == "map":
            return await runner.map(one, range(40), checkpoint=kept, errors="collect")
        return await runner.map_batches(
            many, range(40), size=8, checkpoint=kept, errors="collect"
        )

for number in range(int(rounds)):
    os.write(log, b"--\\n")
    child = os.fork()
    if not child:
        found = asyncio.run(main())
        print(json.dumps([
            each.value if isinstance(each, sr.Ok) else str(each.error) for each in found
        ]))
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        print(number, "kills")
        break
else:
    print("no end")
"""


def rounds(tmp_path, mode, limit, most, crashes, *killers):
    path = tmp_path / "kept"
    told = [str(each) for each in (mode, limit, most, crashes, *killers)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, *told],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = path.with_name("kept.log").read_text().split("--\n")[1:]
    return done.stdout.splitlines(), [each.splitlines() for each in log]


@needs_fork
@pytest.mark.parametrize("killer", [0, 17, 39])
def test_a_killer_is_left_out_and_the_run_goes_on(tmp_path, killer):
    said, log = rounds(tmp_path, "map", 4, 12, 3, killer)
    found = json.loads(said[0])
    assert [item for item in range(40) if found[item] != item] == [killer]
    assert "times while it ran alone" in found[killer]
    alone = [each for each in log if each and each[-1] == f"{killer} with 1"]
    assert len(alone) >= 3
    assert all(line.split()[0] != str(killer) for line in log[-1])
    (kills, _) = said[1].split()
    assert int(kills) <= 6


@needs_fork
def test_a_killer_that_was_mended_runs_again_without_a_bound(tmp_path):
    rounds(tmp_path, "map", 4, 12, 3, 17)
    said, log = rounds(tmp_path, "map", 4, 1, 3)
    assert json.loads(said[0])[17] != 17
    assert "17 with 1" not in log[-1]
    said, log = rounds(tmp_path, "map", 4, 1, "none")
    assert json.loads(said[0]) == list(range(40))
    assert log[-1] == ["17 with 1"]


@needs_fork
def test_two_killers_beside_each_other_are_both_found(tmp_path):
    said, _ = rounds(tmp_path, "map", 4, 20, 3, 9, 10)
    found = json.loads(said[0])
    assert [item for item in range(40) if found[item] != item] == [9, 10]


@needs_fork
def test_suspects_run_one_at_a_time(tmp_path):
    _, log = rounds(tmp_path, "map", 4, 3, 3, 17)
    after = [line for line in log[2] if line.split()[0] in ("14", "15", "16", "17")]
    assert after
    assert all(line.endswith(" with 1") for line in after)


@needs_fork
def test_without_a_bound_it_is_run_each_time(tmp_path):
    said, log = rounds(tmp_path, "map", 4, 8, "none", 17)
    assert said == ["no end"]
    assert all(any(line.startswith("17 ") for line in each) for each in log)


@needs_fork
def test_a_killer_in_a_batch_is_found_by_halves(tmp_path):
    said, log = rounds(tmp_path, "batches", 2, 20, 3, 21)
    found = json.loads(said[0])
    assert [item for item in range(40) if found[item] != item] == [21]
    sizes = [each[-1] for each in log[:-1]]
    assert sizes[0] == "batch of 8"
    assert sizes[-3:] == ["batch of 1"] * 3
