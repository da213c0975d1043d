"""A mixed workload, seeded, to ask the telemetry what happened, and know the answer."""
