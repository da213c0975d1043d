// What its metrics say: the panels of the Grafana boards, and one for each other metric.
import { useMemo, useState } from 'preact/hooks';
import { Canvas, LEFT, timeAxis } from './canvas.js';
import { amount, count, line, plural, round, ticks, time } from './format.js';
import { html } from './parts.js';

const HEIGHT = 132;
const FOOT = 18;
const COLOURS = ['service', 'loop_lag', 'busy', 'backoff', 'rate_limit', 'limit', 'queue', 'unit'];
const NAMED = { ok: 'service', failed: 'bad', timed_out: 'loop_lag', cancelled: 'limit' };

export function Metrics({ data, theme, keys }) {
  const [at, setAt] = useState(null);
  const { metrics } = data;
  const boards = useMemo(() => boardsOf(metrics), [metrics]);
  keys({ view: 'metrics' });
  if (!metrics) return html`<section class="card"><h1 class="sentence">No metrics were received.</h1></section>`;
  const shown = boards.reduce((sum, [, panels]) => sum + panels.length, 0);
  const place = at === null ? null : Math.min(metrics.bins - 1, Math.floor(at * metrics.bins));
  return html`<section class="card"><h1 class="sentence">${plural(metrics.metrics, 'metric')} in ${plural(shown, 'panel')}, from ${plural(metrics.points, 'point')} over ${time(metrics.width * metrics.bins)}.</h1>
      <p class="note">Each value is over ${time(metrics.width)}. A counter's rate is even from one export to the next.</p></section>
    ${boards.map(([name, panels, still]) => html`<section aria-label=${name}><h2 class="board">${name}</h2>
      <div class="metrics">${panels.map((panel) => html`<${Chart} key=${panel.title} panel=${panel} metrics=${metrics} names=${data.names} theme=${theme} at=${place} onHover=${setAt} />`)}</div>
      ${still.length > 0 && html`<p class="note">Always 0: ${still.map((each, n) => html`${n ? ', ' : ''}<bdi>${line(each.title)}</bdi>`)}.</p>`}</section>`)}`;
}

/** Each board with its panels, and those in which nothing ever was. */
function boardsOf(metrics) {
  const found = new Map();
  for (const panel of metrics?.panels || []) {
    if (!found.has(panel.board)) found.set(panel.board, [panel.board, [], []]);
    const is = panel.lines.some(([, values]) => values.some(Boolean));
    found.get(panel.board)[is ? 1 : 2].push(panel);
  }
  return [...found.values()];
}

function Chart({ panel, metrics, names, theme, at, onHover }) {
  const { title, unit, lines, left_out: more } = panel;
  const top = most(lines.flatMap(([, values]) => values), unit);
  const colours = lines.map(([name], place) => NAMED[name] || (names.includes(name) ? name : COLOURS[place % COLOURS.length]));
  const draw = (pen, width, height, colour) => plot(pen, width, height, colour, { metrics, lines, colours, unit, top });
  const word = unit === 's' || unit === 'ms' || unit === 'share' || unit === 'By' ? '' : unit;
  return html`<section class="card metric"><h3><bdi>${line(title)}</bdi> <small>${line(word)}</small></h3>
    <div class="plot"><${Canvas} height=${HEIGHT} draw=${draw} label=${`${line(title)} over time; its numbers are in the table below`} onHover=${onHover} deps=${[panel, metrics, theme]} />
      ${at !== null && html`<i class="hair" style=${{ left: `calc(${LEFT}px + (100% - ${LEFT}px) * ${(at + 0.5) / metrics.bins})` }}></i>`}</div>
    <div class="scroll" tabindex="0" role="group" aria-label=${`Numbers of ${line(title)}`}><table class="plain"><thead><tr><th class="left" scope="col"><span class="sr">line</span></th><th scope="col">${at === null ? 'last' : `at ${time(metrics.from + (at + 0.5) * metrics.width)}`}</th><th scope="col">highest</th></tr></thead>
      <tbody>${lines.map(([name, values], place) => html`<tr><td class="left"><i class=${`dot ${place % 2 ? 'dashed' : ''}`} style=${{ background: `var(--${colours[place]})` }}></i><bdi>${line(name)}</bdi></td>
        <td>${told(at === null ? values.findLast((each) => each !== null) : values[at], unit)}</td><td>${told(values.reduce((a, b) => (b !== null && (a === null || b > a) ? b : a), null), unit)}</td></tr>`)}</tbody></table></div>
    ${more > 0 && html`<p class="note">${count(more)} more, which are smaller.</p>`}</section>`;
}

const told = (value, unit) => (value === null || value === undefined ? '–' : amount(value, unit));

const most = (values, unit) => {
  const top = values.reduce((a, b) => Math.max(a, b ?? 0), 0);
  return unit === 'share' && top <= 1 ? 1 : top || 1;
};

function plot(pen, width, height, colour, { metrics, lines, colours, unit, top }) {
  const wide = width - LEFT;
  const foot = height - FOOT;
  const low = lines.reduce((a, [, values]) => Math.min(a, ...values.map((each) => each ?? 0)), 0);
  const y = (value) => foot - 2 - ((value - low) / (top - low)) * (foot - 10);
  pen.textAlign = 'right';
  pen.lineWidth = 1;
  for (const mark of ticks(low, top, 3)) {
    pen.fillStyle = colour('line');
    pen.fillRect(LEFT, Math.round(y(mark)), wide, 1);
    pen.fillStyle = colour('ink2');
    pen.fillText(unit === 's' ? round(mark * 1e6) : amount(mark, unit), LEFT - 6, y(mark) + 4);
  }
  timeAxis(pen, colour, metrics.from, metrics.from + metrics.width * metrics.bins, LEFT, wide, height - 3);
  const step = wide / metrics.bins;
  lines.forEach(([, values], place) => {
    pen.strokeStyle = colour(colours[place]);
    pen.lineWidth = 1.5;
    pen.setLineDash(place % 2 ? [5, 3] : []);
    pen.beginPath();
    let open = false;
    values.forEach((value, bin) => {
      if (value === null) { open = false; return; }
      const x = LEFT + bin * step;
      if (open) pen.lineTo(x, y(value)); else pen.moveTo(x, y(value));
      pen.lineTo(x + step, y(value));
      open = true;
    });
    pen.stroke();
  });
  pen.setLineDash([]);
}
