"""Encoded telemetry on its way: queued, spooled on disk, sent, acknowledged."""
