"""Telemetry held against the registry, the list of its names and their rules."""
