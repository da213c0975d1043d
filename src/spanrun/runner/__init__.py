"""The runtime: one task for each admitted job, every one in the same wrapper."""
