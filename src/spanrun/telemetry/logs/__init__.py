"""Log records: in which job each was made, and their way to OTLP."""
