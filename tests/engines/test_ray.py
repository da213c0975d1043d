"""`RayEngine`: the same runs, on a real cluster of this machine."""

import asyncio
import signal
import sys
import threading
from collections import Counter

import pytest
from tests.engines import jobs
from tests.engines.jobs import Once
from tests.engines.test_process import ROOT, program
from tests.waiting import killed_when_late, until

import spanrun as sr
from spanrun.engines import RayEngine
from spanrun.errors import ConfigurationError, RemoteJobError

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cluster():
    """A cluster that the tests share: each one's own would take seconds to start."""
    ray = pytest.importorskip("ray", reason="pip install 'spanrun[ray]'")

    over = threading.Event()
    begun = threading.Event()

    def live():
        # Its processes end with the thread that made them.
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            configure_logging=False,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )
        begun.set()
        over.wait()
        ray.shutdown()

    thread = threading.Thread(target=live)
    thread.start()
    begun.wait()
    yield
    over.set()
    thread.join()


def runner(workers=2, **policies):
    engine = RayEngine(workers, lost_after=60)
    return sr.Runner("remote", engine=engine, **{"limit": 8, **policies})


@pytest.mark.usefixtures("cluster")
async def test_results_errors_and_batches_are_as_everywhere(tmp_path):
    async with runner() as remote:
        assert await remote.map(jobs.double, range(500)) == list(range(0, 1000, 2))
        with pytest.raises(KeyError, match="7") as caught:
            await remote.map(jobs.double_or_raise, range(5, 9))
        assert "in double_or_raise" in "\n".join(caught.value.__notes__)
        assert await remote.map_batches(jobs.double_all, range(20), size=8) == [
            2 * n for n in range(20)
        ]
        async with remote.stream(jobs.double, range(100)) as outcomes:
            assert [each.value async for each in outcomes] == list(range(0, 200, 2))
        kept = sr.Checkpoint(tmp_path / "run.checkpoint")
        for _ in range(2):
            assert await remote.map(jobs.double, [3], checkpoint=kept) == [6]


@pytest.mark.usefixtures("cluster")
async def test_no_job_is_lost_or_doubled_when_actors_are_killed(tmp_path):
    items = [Once(n, str(tmp_path), 1 if n == 100 else 0) for n in range(400)]
    items.append(Once(400, str(tmp_path), 100))
    async with runner() as remote:
        outcomes = await remote.map(jobs.killing, items, errors="collect")
    assert Counter(each.index for each in outcomes) == Counter(range(401))
    assert [each.value for each in outcomes[:400]] == [2 * n for n in range(400)]
    assert isinstance(outcomes[400].error, RemoteJobError)


@pytest.mark.usefixtures("cluster")
async def test_a_cancellation_reaches_the_actors(tmp_path):
    async with runner() as remote:
        task = asyncio.create_task(remote.map(jobs.hang, [str(tmp_path)] * 8))
        await asyncio.to_thread(until, lambda: len(list(tmp_path.glob("*.begun"))) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(list(tmp_path.glob("*.cancelled"))) == 2


def test_a_program_with_a_cluster_of_its_own_drains_at_sigterm(tmp_path):
    pytest.importorskip("ray", reason="pip install 'spanrun[ray]'")
    process = program("drained-ray", tmp_path, cwd=tmp_path)
    with killed_when_late(process):
        until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "the last one was True" in out


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"spanrun\[ray\]"):
        RayEngine(workers=2)
