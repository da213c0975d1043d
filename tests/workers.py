"""How pytest-xdist spreads the tests over its workers: a file stays in one."""

import os
from typing import Final

from xdist.scheduler import LoadFileScheduling

WITH_SOLR: Final = frozenset(
    [
        "tests/backends/test_dashboards.py",
        "tests/backends/test_slo.py",
        "tests/backends/test_solr.py",
        "tests/backends/test_solr_faults.py",
        "tests/ingest/test_two_stores.py",
        "tests/stores/test_conformance.py",
        "tests/stores/test_solr.py",
    ]
)
"""They share one worker, and with it the Solr of tests/solr.py."""


class Scheduling(LoadFileScheduling):
    """As ``--dist loadfile``, but for `WITH_SOLR`."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "with Solr" if file in WITH_SOLR else file


def count() -> int:
    """More workers than cores, where those are few: half of a test is waiting."""
    cores = os.cpu_count() or 1
    return max(cores, min(2 * cores, 8))
