"""A program with a stock OpenTelemetry SDK: ``python sending.py ENDPOINT FORM``.

The form is proto, json or grpc. There is no exporter of JSON for Python, so that its
spans are sent by hand then, and its logs and metrics as protobuf.
"""

import logging
import sys
import urllib.request

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
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
of_logs = OTLPLogExporter(f"{endpoint}/v1/logs")
of_metrics = OTLPMetricExporter(f"{endpoint}/v1/metrics")
if form == "proto":
    url = f"{endpoint}/v1/traces"
    exporter = OTLPSpanExporter(url, compression=Compression.Gzip)
elif form == "grpc":
    exporter = grpc_traces.OTLPSpanExporter(
        endpoint, insecure=True, compression=grpc.Compression.Gzip
    )
    of_logs = grpc_logs.OTLPLogExporter(endpoint, insecure=True)
    of_metrics = grpc_metrics.OTLPMetricExporter(endpoint, insecure=True)
resource = Resource({"service.name": "shop"})
provider = TracerProvider(resource=resource)
provider.add_span_processor(BatchSpanProcessor(exporter))
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(of_logs))
log = logging.getLogger("shop.cart")
log.setLevel(logging.DEBUG)
log.addHandler(LoggingHandler(logger_provider=logs))
reader = PeriodicExportingMetricReader(of_metrics)
metrics = MeterProvider([reader], resource=resource)
meter = metrics.get_meter("shop")
sold = meter.create_counter("shop.sold", "{cart}", "Carts that were paid.")
sizes = meter.create_histogram("shop.cart.size", "{item}", "Items of a cart.")
open_carts = meter.create_up_down_counter("shop.open", "{cart}", "Carts in use.")
log.info("the shop opens")
metrics.force_flush()
tracer = trace.get_tracer("shop", tracer_provider=provider)
for number in range(20):
    with tracer.start_as_current_span("checkout") as span:
        span.set_attribute("cart", number)
        open_carts.add(1)
        sold.add(1, {"paid.by": "card" if number % 4 else "cash"})
        sizes.record(number)
        with tracer.start_as_current_span("pay", kind=trace.SpanKind.CLIENT):
            pass
        if number == 7:
            log.error("no such cart: %d", number, extra={"cart": number})
            span.record_exception(LookupError("no such cart"))
            span.set_status(trace.StatusCode.ERROR)
provider.shutdown()
for each in (logs, metrics):
    each.shutdown()
