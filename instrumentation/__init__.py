"""What the project is measured with: backends, telemetry names, configuration."""
