// How long jobs took, over time: a heat map with its histogram, or the jobs themselves.
import { useMemo } from 'preact/hooks';
import { Canvas, LEFT, timeAxis } from './canvas.js';
import { durations, keyOf, nameOf, quantile } from './data.js';
import { line, ticks, time } from './format.js';
import { html, useNarrow } from './parts.js';
import { href } from './url.js';

export const FEW = 40;
const PLOT = 130;
const CELL = 6;
const RIGHT = 196;

export function Latency({ data, state, scope, theme, from, to, onBox }) {
  const narrow = useNarrow();
  const right = narrow ? 0 : RIGHT;
  const sorted = useMemo(() => durations(data, scope), [scope]);
  const lanes = useMemo(() => data.events.filter((event) => event.kind === 'blocked'), [data]);
  if (scope.length < FEW) return html`<${Few} data=${data} state=${state} scope=${scope} from=${from} to=${to} />`;
  const low = Math.log(Math.max(1, sorted[0]) / 1.15);
  const high = Math.log(Math.max(2, sorted[sorted.length - 1]) * 1.15);
  const draw = (pen, width, height, colours) => {
    const wide = width - LEFT - right;
    const base = height - 22;
    const scale = timeAxis(pen, colours, from, to, LEFT, wide, height - 6);
    const y = (us) => base - ((Math.log(Math.max(1, us)) - low) / (high - low)) * PLOT;
    pen.fillStyle = colours('loop_lag');
    pen.globalAlpha = 0.14;
    for (const { at, value } of lanes) pen.fillRect(scale(at), 0, Math.max(1, scale(at + value) - scale(at)), base);
    pen.globalAlpha = 1;
    decades(pen, colours, low, high, y, LEFT + wide);
    const columns = Math.max(1, Math.floor(wide / CELL));
    const lines = Math.floor(PLOT / CELL);
    const cell = (row) => [
      Math.min(columns - 1, Math.max(0, Math.floor(((data.end[row] - from) / (to - from)) * columns))),
      Math.min(lines - 1, Math.max(0, Math.floor(((Math.log(Math.max(1, data.duration[row])) - low) / (high - low)) * lines)))];
    const counts = new Uint32Array(columns * lines);
    const sums = new Uint32Array(lines);
    for (const row of scope) {
      const [x, line] = cell(row);
      sums[line] += 1;
      if (data.end[row] <= to) counts[x * lines + line] += 1;
    }
    heat(pen, counts, columns, lines, wide, base, colours);
    percentiles(pen, data, scope, from, to, scale, y, colours);
    pen.fillStyle = colours('bad');
    for (const row of scope) {
      if (data.outcome[row] === 0 || data.end[row] > to) continue;
      pen.beginPath();
      pen.arc(scale(data.end[row]), y(data.duration[row]), 2.2, 0, 7);
      pen.fill();
    }
    if (right) histogram(pen, sums, lines, base, LEFT + wide + 16, sorted, y, colours);
  };
  return html`<section class="card" aria-labelledby="latency-title"><h2 id="latency-title">Latency
    <small>each job at the time it ended; lines: p50 and p95; red: not ok</small></h2>
    <${Canvas} height=${PLOT + 40} draw=${draw} right=${right} deps=${[scope, theme, from, to, right]}
      label=${`Durations of ${scope.length} jobs over time: p50 ${time(quantile(sorted, 50))}, p95 ${time(quantile(sorted, 95))}, p99 ${time(quantile(sorted, 99))}`}
      onRange=${(a, b) => onBox([from + a * (to - from), from + b * (to - from)])} /></section>`;
}

function decades(pen, colours, low, high, y, end) {
  pen.textAlign = 'right';
  const exponents = ticks(Math.ceil(low / Math.LN10), Math.floor(high / Math.LN10), 5).filter((each) => each % 1 === 0);
  for (const exponent of exponents) {
    const at = Math.round(y(10 ** exponent));
    pen.fillStyle = colours('line');
    pen.fillRect(LEFT, at, end - LEFT, 1);
    pen.fillStyle = colours('ink2');
    pen.fillText(decade(10 ** exponent), LEFT - 8, at + 4);
  }
}

function decade(us) {
  const [value, unit] = us < 1e3 ? [us, 'µs'] : us < 1e6 ? [us / 1e3, 'ms'] : [us / 1e6, 's'];
  return `${value} ${unit}`;
}

function heat(pen, counts, columns, lines, wide, base, colours) {
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  const [a, b] = [rgb(colours('heat0')), rgb(colours('heat1'))];
  const shade = (n) => {
    const part = 0.25 + 0.75 * (most > 1 ? Math.log(n) / Math.log(most) : 0);
    return `rgb(${a.map((each, place) => Math.round(each + (b[place] - each) * part)).join(' ')})`;
  };
  const w = wide / columns;
  const h = PLOT / lines;
  for (let x = 0; x < columns; x++) {
    for (let line = 0; line < lines; line++) {
      const n = counts[x * lines + line];
      if (!n) continue;
      pen.fillStyle = shade(n);
      pen.fillRect(LEFT + x * w, base - (line + 1) * h, w - 0.7, h - 0.7);
    }
  }
}

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

function percentiles(pen, data, scope, from, to, scale, y, colours) {
  const bins = Math.max(1, Math.min(24, Math.floor(scope.length / FEW)));
  const found = Array.from({ length: bins }, () => []);
  for (const row of scope) {
    if (data.end[row] <= to && data.end[row] >= from) found[Math.min(bins - 1, Math.floor(((data.end[row] - from) / (to - from)) * bins))].push(data.duration[row]);
  }
  pen.strokeStyle = colours('ink');
  pen.lineWidth = 1;
  for (const p of [50, 95]) {
    pen.beginPath();
    let open = false;
    found.forEach((values, bin) => {
      if (values.length < 20) { open = false; return; }
      values.sort((a, b) => a - b);
      const at = y(quantile(values, p));
      const [x0, x1] = [scale(from + (bin * (to - from)) / bins), scale(from + ((bin + 1) * (to - from)) / bins)];
      if (open) pen.lineTo(x0, at); else pen.moveTo(x0, at);
      pen.lineTo(x1, at);
      open = true;
    });
    pen.stroke();
  }
}

function histogram(pen, sums, lines, base, left, sorted, y, colours) {
  const most = sums.reduce((a, b) => Math.max(a, b), 1);
  const h = PLOT / lines;
  pen.fillStyle = colours('service');
  sums.forEach((n, line) => { if (n) pen.fillRect(left, base - (line + 1) * h, Math.max(1, (90 * n) / most), h - 1); });
  pen.textAlign = 'left';
  let free = Infinity;
  for (const p of [50, 95, 99]) {
    const value = quantile(sorted, p);
    const at = y(value);
    const label = Math.min(at, free - 13);
    free = label;
    pen.strokeStyle = colours('ink2');
    pen.setLineDash([1, 2]);
    pen.beginPath();
    pen.moveTo(left, at);
    pen.lineTo(left + 94, at);
    pen.lineTo(left + 99, label);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colours('ink');
    pen.fillText(`p${p} ${time(value)}`, left + 102, label + 4);
  }
}

/** Fewer than forty jobs: each of them on the axis of time. */
function Few({ data, state, scope, from, to }) {
  if (!scope.length) return null;
  const rows = [...scope].sort((a, b) => data.start[a] - data.start[b]);
  const at = (us) => (100 * (us - from)) / (to - from);
  return html`<section class="card" aria-labelledby="few-title"><h2 id="few-title">${rows.length === 1 ? 'The job' : 'The jobs'}
    <small>from submission to the outcome; fewer than ${FEW}, so no percentiles</small></h2>
    <div>${rows.map((row) => {
      const left = Math.max(0, at(data.start[row]));
      const wide = Math.max(0.3, Math.min(100, at(data.end[row])) - left);
      const parts = data.order.map((p) => [data.names[p], data.phases[p][row]]);
      return html`<a class="few" href=${href({ ...state, view: 'trace', id: nameOf(data, row) })}><span>${data.outcome[row] ? html`<b class="bad">✕ </b>` : ''}<bdi>${line(keyOf(data, row))}</bdi></span>
        <span class="lane"><span class="ledger" style=${{ marginLeft: `${left}%`, width: `${wide}%` }}>${parts.filter(([, amount]) => amount > 0).map(([phase, amount]) => html`<i style=${{ width: `${(100 * amount) / Math.max(1, data.duration[row])}%`, background: `var(--${phase})` }}></i>`)}</span></span>
        <span class="right">${time(data.duration[row])}</span></a>`;
    })}</div></section>`;
}
