"""What ``make check-fast`` leaves out."""

from typing import Final

SLOW: Final = frozenset(
    [
        "backends",
        "bench",
        "cli",
        "docs",
        "fuzz",
        "hosts",
        "stateful",
        "typing",
        "test_brute_force",
        "test_configure",
        "test_conformance",
        "test_embedding_server",
        "test_faults",
        "test_fork",
        "test_gradient",
        "test_gradient_refusals",
        "test_hostile",
        "test_kills",
        "test_local_model",
        "test_own_io",
        "test_plugin",
        "test_processes",
        "test_pure_python",
        "test_registry",
        "test_sampling",
        "test_secrets_whole",
        "test_shortage",
        "test_shutdown",
        "test_sigint",
        "test_sigterm",
        "test_solr",
        "test_spooled",
        "test_store_in_the_way",
        "test_stubborn_exit",
        "test_variables",
        "test_watchdog",
    ]
)
"""Folders and files that start programs or servers, or draw many examples."""
