"""Metrics: the instruments of the registry, and cells that aggregate in place."""
