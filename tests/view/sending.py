"""A program with a stock OpenTelemetry SDK: ``python sending.py ENDPOINT proto|json``.

There is no exporter of JSON for Python, so that its requests are sent by hand.
"""

import sys
import urllib.request

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from spanrun.telemetry.otlp_file import line_of

endpoint, form = sys.argv[1:]


class JsonExporter:
    def export(self, spans):
        body = line_of(encode_spans(spans)).encode()
        request = urllib.request.Request(  # noqa: S310 -- the test's own server
            f"{endpoint}/v1/traces", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            assert answer.read() == b"{}"
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=0):
        return True


exporter = JsonExporter()
if form == "proto":
    url = f"{endpoint}/v1/traces"
    exporter = OTLPSpanExporter(url, compression=Compression.Gzip)
provider = TracerProvider(resource=Resource({"service.name": "shop"}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = trace.get_tracer("shop", tracer_provider=provider)
for number in range(20):
    with tracer.start_as_current_span("checkout") as span:
        span.set_attribute("cart", number)
        with tracer.start_as_current_span("pay", kind=trace.SpanKind.CLIENT):
            pass
        if number == 7:
            span.record_exception(LookupError("no such cart"))
            span.set_status(trace.StatusCode.ERROR)
provider.shutdown()
