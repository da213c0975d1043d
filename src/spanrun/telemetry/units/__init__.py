"""The instrumented wrapper: a span, exact metrics, and who else is told of its end."""
