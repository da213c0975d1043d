// A program in Go that sends traces, logs and metrics: sending_go ENDPOINT
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	api "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var shop = resource.NewSchemaless(attribute.String("service.name", "shop"))

func main() {
	if len(os.Args) < 2 {
		fmt.Println("usage: sending ENDPOINT")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tracing, logging, metering := providers(ctx, os.Args[1])
	tracer, logger, meter := tracing.Tracer("shop"), logging.Logger("shop.cart"), metering.Meter("shop")
	sold := must(meter.Int64Counter("shop.sold", metric.WithUnit("{cart}")))
	sizes := must(meter.Int64Histogram("shop.cart.size", metric.WithUnit("{item}")))
	open := must(meter.Int64UpDownCounter("shop.open", metric.WithUnit("{cart}")))
	write(ctx, logger, api.SeverityInfo, "the shop opens")
	for number := range 20 {
		ctx, span := tracer.Start(ctx, "checkout", trace.WithAttributes(attribute.Int("cart", number)))
		_, call := tracer.Start(ctx, "pay", trace.WithSpanKind(trace.SpanKindClient))
		call.End()
		open.Add(ctx, 1)
		sizes.Record(ctx, int64(number))
		sold.Add(ctx, 1, metric.WithAttributes(attribute.String("paid.by", paidBy(number))))
		if number == 7 {
			write(ctx, logger, api.SeverityError, fmt.Sprint("no such cart: ", number), attribute.Int("cart", number))
			span.SetStatus(codes.Error, "")
			span.AddEvent("exception", trace.WithAttributes(
				attribute.String("exception.type", "LookupError"),
				attribute.String("exception.message", "no such cart")))
		}
		time.Sleep(time.Millisecond) // an order of its starts
		span.End()
	}
	for _, shutdown := range []func(context.Context) error{tracing.Shutdown, logging.Shutdown, metering.Shutdown} {
		check(shutdown(ctx))
	}
}

func providers(ctx context.Context, endpoint string) (*sdktrace.TracerProvider, *sdklog.LoggerProvider, *sdkmetric.MeterProvider) {
	spans := must(otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)))
	records := must(otlploghttp.New(ctx, otlploghttp.WithEndpointURL(endpoint+"/v1/logs")))
	points := must(otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(endpoint+"/v1/metrics")))
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(shop)),
		sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(records)), sdklog.WithResource(shop)),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(points)), sdkmetric.WithResource(shop))
}

func write(ctx context.Context, logger api.Logger, level api.Severity, text string, attributes ...attribute.KeyValue) {
	var record api.Record
	record.SetTimestamp(time.Now())
	record.SetSeverity(level)
	record.SetBody(attribute.StringValue(text))
	record.AddAttributes(attributes...)
	logger.Emit(ctx, record)
}

func paidBy(number int) string {
	if number%4 == 0 {
		return "cash"
	}
	return "card"
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
