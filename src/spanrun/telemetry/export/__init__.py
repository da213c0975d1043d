"""What sends encoded telemetry, one request at a time: over HTTP, gRPC, or printed."""
