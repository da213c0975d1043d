// Where the time goes: jobs under way by phase, over time, and the lanes of events.
import { useMemo, useState } from 'preact/hooks';
import { Canvas, LEFT, timeAxis } from './canvas.js';
import { limitsOf, stackOf, sums } from './data.js';
import { count, line, share, three, ticks, time } from './format.js';
import { Dot, html, useNarrow } from './parts.js';

const LANE = 14;
const PLOT = 170;
const BINS = 240;
const WORDS = { blocked: 'loop' };
const COLOURS = { blocked: 'loop_lag', failed: 'bad', retry: 'backoff', hedge: 'accent', breaker: 'ink', limit: 'limit', stuck: 'bad', signal: 'ink' };

export function Stack({ data, state, go, scope, theme, from, to }) {
  const narrow = useNarrow();
  const [hover, setHover] = useState(null);
  const stack = useMemo(() => stackOf(data, scope, from, to, BINS), [scope, from, to]);
  const total = useMemo(() => sums(data, scope), [scope]);
  const lanes = useMemo(() => lanesOf(data, scope, state), [scope]);
  const limits = useMemo(() => (state.runner ? within(limitsOf(data, state.runner), from, to) : []), [data, state.runner, from, to]);
  const top = Math.max(0, ...limits.map(([, limit]) => limit), ...stackTop(stack)) * 1.05 || 1;
  const height = 8 + lanes.length * LANE + PLOT + 22;
  const draw = (pen, width, all, colours) => {
    const wide = width - LEFT;
    const base = all - 22;
    const scale = timeAxis(pen, colours, from, to, LEFT, wide, all - 6);
    blocked(pen, lanes, scale, colours, base);
    drawLanes(pen, lanes, scale, colours, width, data);
    const y = (jobs) => base - (jobs / top) * (PLOT - 12);
    grid(pen, colours, top, y, width);
    bars(pen, stack, data, colours, y, wide);
    dashed(pen, colours, limits, scale, y, width);
  };
  const bin = hover === null ? null : Math.min(BINS - 1, Math.floor(hover * BINS));
  return html`<section class="card" aria-labelledby="stack-title"><h2 id="stack-title">Where the time goes
    <small>jobs under way, by phase${limits.length ? '; dashed: the limit. From service up to rate_limit a job holds a slot' : ''}</small></h2>
    <div class="panel"><${Canvas} height=${height} draw=${draw} deps=${[stack, lanes, theme, limits]} onHover=${setHover}
      label="Jobs under way by phase, over time. The table that follows has its numbers."
      onRange=${(a, b) => go({ t: [Math.round(from + a * (to - from)), Math.round(from + b * (to - from))] })} />
    <${Legend} data=${data} total=${total} limits=${limits} />
    ${bin !== null && !narrow && html`<div class="tip" style=${{ left: `calc(${LEFT}px + (100% - 196px - ${LEFT}px) * ${hover > 0.6 ? hover - 0.2 : hover} + 10px)` }}>
      <b>${time(from + ((bin + 0.5) * (to - from)) / BINS)}</b>${data.order.map((p, place) => stack[place][bin] > 0.005 ? html`<div><${Dot} phase=${data.names[p]} />${data.names[p]} ${three(stack[place][bin])}</div>` : '')}</div>`}
    </div><${Numbers} data=${data} scope=${scope} from=${from} to=${to} limits=${limits} /></section>`;
}

function stackTop(stack) {
  return stack[0].map((_, bin) => stack.reduce((sum, phase) => sum + phase[bin], 0));
}

export function lanesOf(data, scope, state) {
  const within = new Set(scope);
  const lanes = new Map([['blocked', []], ['failed', []], ['retry', []], ['hedge', []]]);
  for (const row of scope) if (data.outcome[row] !== 0) lanes.get('failed').push({ at: data.end[row] });
  for (const event of data.events) {
    if (event.job >= 0 ? !within.has(event.job) && event.kind !== 'blocked' : state.runner && event.runner >= 0 && data.runners[event.runner].name !== state.runner && event.kind !== 'blocked') continue;
    if (!lanes.has(event.kind)) lanes.set(event.kind, []);
    lanes.get(event.kind).push(event);
  }
  return [...lanes].filter(([, events]) => events.length);
}

function blocked(pen, lanes, scale, colours, base) {
  const found = lanes.find(([kind]) => kind === 'blocked');
  if (!found) return;
  pen.fillStyle = colours('loop_lag');
  pen.globalAlpha = 0.14;
  for (const { at, value } of found[1]) pen.fillRect(scale(at), 0, Math.max(1, scale(at + value) - scale(at)), base);
  pen.globalAlpha = 1;
}

function drawLanes(pen, lanes, scale, colours, width, data) {
  lanes.forEach(([kind, events], place) => {
    const y = 4 + place * LANE;
    pen.fillStyle = colours('ink2');
    pen.textAlign = 'right';
    pen.fillText(WORDS[kind] || kind, LEFT - 8, y + 9);
    pen.fillStyle = colours('line');
    pen.fillRect(LEFT, y + LANE - 2, width - LEFT, 1);
    pen.fillStyle = colours(COLOURS[kind] || 'ink');
    for (const { at, value } of events) {
      const x = scale(at);
      if (scale(at + (value || 0)) < LEFT - 1 || x > width + 1) continue;
      pen.fillRect(x - 1, y + 1, kind === 'blocked' ? Math.max(2, scale(at + value) - x) : 2, LANE - 5);
    }
    if (kind === 'blocked') words(pen, events, scale, colours, y + 9, width, data);
  });
}

/** Who blocked the loop for the longest, and how long. */
function words(pen, events, scale, colours, y, width, data) {
  const { at, value, job } = events.reduce((a, b) => (b.value > a.value ? b : a));
  const who = job >= 0 ? ` by ${line(data.runs[data.run[job]].runner)} #${data.index[job]}` : '';
  const text = `blocked ${time(value)}${who}`;
  const room = pen.measureText(text).width;
  pen.fillStyle = colours('ink');
  pen.textAlign = 'left';
  const x = scale(at + value) + 6;
  if (x >= LEFT && x + room <= width) pen.fillText(text, x, y);
}

function grid(pen, colours, top, y, width) {
  pen.textAlign = 'right';
  for (const jobs of ticks(0, top, 3)) {
    if (top > 3 && jobs % 1) continue;
    pen.fillStyle = colours('line');
    pen.fillRect(LEFT, Math.round(y(jobs)), width - LEFT, 1);
    pen.fillStyle = colours('ink2');
    pen.fillText(jobs >= 1 || !jobs ? count(Math.round(jobs)) : three(jobs), LEFT - 8, y(jobs) + 4);
  }
}

function bars(pen, stack, data, colours, y, wide) {
  const bins = stack[0].length;
  const floor = new Float64Array(bins);
  stack.forEach((heights, place) => {
    pen.fillStyle = colours(data.names[data.order[place]]);
    for (let bin = 0; bin < bins; bin++) {
      if (!heights[bin]) continue;
      const x = LEFT + (bin * wide) / bins;
      const low = floor[bin];
      floor[bin] += heights[bin];
      pen.fillRect(x, y(floor[bin]), wide / bins + 0.5, y(low) - y(floor[bin]));
    }
  });
}

/** The limits of a range of time; the first holds from its beginning. */
function within(limits, from, to) {
  const before = limits.filter(([at]) => at <= from).slice(-1).map(([, limit]) => [from, limit]);
  return [...before, ...limits.filter(([at]) => at > from && at < to)];
}

function dashed(pen, colours, limits, scale, y, width) {
  if (!limits.length) return;
  pen.strokeStyle = colours('ink');
  pen.lineWidth = 1.5;
  pen.setLineDash([4, 3]);
  pen.beginPath();
  limits.forEach(([at, limit], place) => {
    if (place) pen.lineTo(scale(at), y(limits[place - 1][1]));
    else pen.moveTo(scale(at), y(limit));
    pen.lineTo(scale(at), y(limit));
  });
  pen.lineTo(width, y(limits[limits.length - 1][1]));
  pen.stroke();
  pen.setLineDash([]);
}

function Legend({ data, total, limits }) {
  const all = limits.map(([, limit]) => limit);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const rows = [...data.order].reverse();
  return html`<div class="legend"><table aria-label="Time by phase">${rows.map((p) => html`<tr key=${p}><th scope="row"><${Dot} phase=${data.names[p]} />${data.names[p]}</th>
    <td>${time(total.phases[p])}</td><td>${share(total.phases[p], total.all)}</td></tr>`)}
    <tr class="sum"><th scope="row"><i class="dot"></i>job time</th><td>${time(total.all)}</td><td></td></tr>
    ${limits.length ? html`<tr id="limit"><th scope="row"><i class="dash"></i>limit</th><td>${least === most ? count(most) : `${count(least)} to ${count(most)}`}</td><td></td></tr>` : ''}</table></div>`;
}

/** The numbers of the chart, in twelve parts, for who can't see it. */
function Numbers({ data, scope, from, to, limits }) {
  const bins = 12;
  const stack = useMemo(() => stackOf(data, scope, from, to, bins), [scope, from, to]);
  const width = (to - from) / bins;
  return html`<div class="sr"><table id="stack-numbers"><caption>Mean number of jobs under way by phase</caption>
    <thead><tr><th scope="col">from</th>${data.order.map((p) => html`<th scope="col">${data.names[p]}</th>`)}</tr></thead>
    <tbody>${Array.from({ length: bins }, (_, bin) => html`<tr><th scope="row">${time(from + bin * width)}</th>
      ${stack.map((phase) => html`<td data-amount=${phase[bin] * width}>${three(phase[bin])}</td>`)}</tr>`)}</tbody></table>
    ${limits.length > 1 && html`<table id="limit-numbers"><caption>The limit</caption><thead><tr><th scope="col">from</th><th scope="col">limit</th></tr></thead>
      <tbody>${limits.map(([at, limit]) => html`<tr><th scope="row">${time(at)}</th><td>${count(limit)}</td></tr>`)}</tbody></table>`}</div>`;
}
