"""Sessions of which every number is known, in a local store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.waiting import PATIENCE

from spanrun.outcome import Err, Ok, Timings
from spanrun.telemetry.observe import RunInfo
from spanrun.telemetry.recordings.store import LocalStore

_numbers = count(1)


@dataclass
class Recorded:
    """A job: when it was submitted, how long it took, and in which phases."""

    submitted: float
    duration: float
    limit: float = 0.0
    busy: float = 0.0
    ok: bool = True

    @property
    def timings(self) -> Timings:
        made = Timings()
        made.limit, made.busy = self.limit, self.busy
        made.submitted, made.duration = self.submitted, self.duration
        return made


def record(
    folder: Path, *runs: Mapping[str, Sequence[Recorded]], policies: str = ""
) -> str:
    """The id of a new session in ``folder``, with these jobs by their runners."""
    store = LocalStore(folder)
    for runner, jobs in (item for each in runs for item in each.items()):
        info = RunInfo(
            f"{next(_numbers):016x}"[::-1], runner, len(jobs), 0, 10**18, 10**18 + 1
        )
        info.policies = policies
        store.run_opened(info)
        for index, job in enumerate(jobs):
            store.job_ended(
                info,
                Ok(index, None, job.timings)
                if job.ok
                else Err(index, ValueError("no"), job.timings),
            )
        store.run_closed(info)
    assert store.close(PATIENCE)
    return store.session
