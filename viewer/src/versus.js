// The selected jobs against the rest; undragged, the slowest 5 %.
import { useMemo } from 'preact/hooks';
import { durations, quantile, sums } from './data.js';
import { count, line, plural, share, time, times } from './format.js';
import { Dot, html, Name, Track } from './parts.js';

const MOST = 5;

export function Versus({ data, scope, box }) {
  const { title, ours, rest } = useMemo(() => sides(data, scope, box), [scope, box]);
  const parts = useMemo(() => [byRunner, byAttempts, byError].map((by) => compared(ours, rest, by(data))), [data, ours, rest]);
  if (!ours.length || !rest.length) return null;
  const [a, b] = [sums(data, ours), sums(data, rest)];
  const rows = data.names.map((name, p) => [name, a.phases[p] / ours.length, b.phases[p] / rest.length]).filter(([, x, y]) => x >= 0.5 || y >= 0.5).sort((x, y) => y[1] - x[1]);
  const most = Math.max(1, ...rows.map(([, x, y]) => Math.max(x, y)));
  const of = (each, all) => share(each * all, all);
  const other = (name, found) => found.length > 0 && html`<h3>${name}</h3><div class="versus">${found.map(({ label, x, y }) => html`<span>${label}</span>
    <span><${Track} part=${x} phase="accent" /><${Track} part=${y} phase="unit" /></span><span>${of(x, ours.length)}</span><span class="soft">${of(y, rest.length)}</span><span>${ratio(x, y)}</span>`)}</div>`;
  return html`<section class="card" aria-labelledby="versus-title"><h2 id="versus-title">${title[0]} <small>${title[1]}</small></h2>
    <h3>Phase <small>mean a job</small></h3><div class="versus">${rows.map(([name, x, y]) => html`<span><${Dot} phase=${name} />${name}</span>
      <span><${Track} part=${x / most} phase=${name} /><${Track} part=${y / most} phase="unit" /></span>
      <span>${time(Math.round(x))}</span><span class="soft">${time(Math.round(y))}</span><span>${ratio(x, y)}</span>`)}</div>
    ${other('Runner', parts[0].length > 1 ? parts[0] : [])}${other('Attempts', parts[1].length > 1 ? parts[1] : [])}${other('Error', parts[2])}</section>`;
}

const ratio = (x, y) => (y ? times(x / y) : x ? '>99×' : '');

/** How jobs are told apart: the kind of a row, below 0 for none, and what a kind is called. */
const byRunner = (data) => ({ of: (row) => data.of[row], label: (kind) => html`<${Name} text=${data.runners[kind].name} />` });
const byAttempts = (data) => ({ of: (row) => (data.attempts[row] > 1 ? 1 : 0), label: (kind) => (kind ? '2 or more' : '1') });
const byError = (data) => ({
  of: (row) => (data.outcome[row] ? data.errorType[row] : -1),
  label: (kind) => html`<bdi>${line(data.text[kind].split('.').pop()) || 'not ok'}</bdi>`,
});

/** Of each kind of job its share on both sides, the most frequent first. */
function compared(ours, rest, { of, label }) {
  const [mine, others] = [ours, rest].map((rows) => {
    const found = new Map();
    for (const row of rows) { const kind = of(row); if (kind >= 0) found.set(kind, (found.get(kind) || 0) + 1); }
    return found;
  });
  const share = (found, kind, rows) => (found.get(kind) || 0) / (rows.length || 1);
  return [...new Set([...mine.keys(), ...others.keys()])].map((kind) => ({ kind, x: share(mine, kind, ours), y: share(others, kind, rest) }))
    .sort((a, b) => b.x - a.x || b.y - a.y).slice(0, MOST).map((each) => ({ ...each, label: label(each.kind) }));
}

function sides(data, scope, box) {
  let inside;
  let title;
  if (box) {
    inside = (row) => data.end[row] >= box[0] && data.end[row] <= box[1];
    const n = scope.filter(inside).length;
    title = [`These ${count(n)} jobs`, `ended from ${time(Math.round(box[0]))} to ${time(Math.round(box[1]))}, against the rest`];
  } else {
    const sorted = durations(data, scope);
    const limit = quantile(sorted, 95);
    inside = (row) => data.duration[row] >= limit;
    title = ['The slowest 5 %', `${plural(scope.filter(inside).length, 'job')} ≥ ${time(limit)}, against the rest`];
  }
  return { title, ours: scope.filter(inside), rest: scope.filter((row) => !inside(row)) };
}
