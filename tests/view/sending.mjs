// A program in Node that sends OTLP as JSON: node sending.mjs ENDPOINT
import { request } from 'node:http';
import { gzipSync } from 'node:zlib';

const spans = Array.from({ length: 20 }, (_, number) => ({
  traceId: `${number + 1}`.padStart(32, '0'),
  spanId: `${number + 1}`.padStart(16, '0'),
  name: 'checkout',
  kind: 2,
  startTimeUnixNano: `${BigInt(Date.now()) * 1000000n}`,
  endTimeUnixNano: `${BigInt(Date.now() + 5) * 1000000n}`,
  attributes: [{ key: 'cart', value: { intValue: number } }],
  status: number === 7 ? { code: 2 } : {},
  events: number === 7 ? [{ name: 'exception', timeUnixNano: '1', attributes: [
    { key: 'exception.type', value: { stringValue: 'LookupError' } },
    { key: 'exception.message', value: { stringValue: 'no such cart' } },
  ] }] : [],
}));
const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] };
const body = gzipSync(JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'shop' }, spans }] }] }));
// Without a length, so that it goes in chunks.
const sent = request(`${process.argv[2]}/v1/traces`, { method: 'POST', headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' } }, (answer) => {
  answer.on('data', (text) => process.stdout.write(`${answer.statusCode} ${text}`));
});
sent.write(body);
sent.end();
