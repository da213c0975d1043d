// What the page was given, unpacked: columns of numbers, and the choice of rows.

export async function unpack(text) {
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : bytesOf(atob(text));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return prepare(await new Response(stream).json());
}

function bytesOf(text) {
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

const SLOT = ['service', 'busy', 'loop_lag', 'rate_limit', 'backoff', 'limit', 'queue'];
/** Upwards in a stack: what holds a slot comes first. */
export const STACK = SLOT;

export function prepare(raw) {
  const text = raw.texts;
  const jobs = raw.jobs;
  const n = jobs.run.length;
  const runners = raw.runners.map((each, place) => ({ ...each, place, bad: each.jobs - each.ok }));
  const named = new Map(runners.map((each) => [each.name, each.place]));
  const of = Int16Array.from(jobs.run, (run) => named.get(raw.runs[run].runner) ?? -1);
  const start = Float64Array.from(jobs.start);
  const duration = Float64Array.from(jobs.duration);
  const end = start.map((at, row) => at + duration[row]);
  const phases = raw.phases.map((name) => Float64Array.from(jobs[name]));
  const most = new Uint8Array(n);
  for (let row = 0; row < n; row++) {
    let best = 0;
    for (let p = 1; p < phases.length; p++) if (phases[p][row] > phases[best][row]) best = p;
    most[row] = best;
  }
  const length = Math.max(raw.session.duration, 1, end.reduce((a, b) => Math.max(a, b), 0));
  const order = SLOT.map((name) => raw.phases.indexOf(name)).filter((p) => p >= 0);
  const data = {
    raw, text, n, runners, named, of, start, duration, end, phases, most, length, order,
    names: raw.phases,
    outcomes: raw.outcomes,
    run: jobs.run, index: jobs.index, key: jobs.key, attempts: jobs.attempts,
    outcome: jobs.outcome, errorType: jobs.error_type, error: jobs.error, trace: jobs.trace,
    session: raw.session, compare: raw.compare, objectives: raw.objectives || [], runs: raw.runs, counts: raw.counts,
    spans: raw.spans, events: eventsOf(raw, named),
    spansOf: spansByJob(raw.spans, n),
    metrics: raw.metrics, logs: raw.logs, logsOf: logsBySpan(raw.logs),
    traces: null,
    searched: null,
  };
  return data;
}

/** The job's name in a URL. */
export const nameOf = (data, row) => `${data.runs[data.run[row]].id}:${data.index[row]}`;

/** The row of the job that has this name; undefined for none. */
export function rowNamed(data, name = '') {
  const [, id, number] = /^(.*):(\d+)$/.exec(name) || [];
  const run = data.runs.findIndex((each) => each.id === id);
  if (run < 0) return undefined;
  const row = data.index.findIndex((index, at) => index === Number(number) && data.run[at] === run);
  return row < 0 ? undefined : row;
}

export const keyOf = (data, row) => (data.key[row] ? data.text[data.key[row]] : `#${data.index[row]}`);

/** The first span of each job; -1 for none. */
function spansByJob(spans, n) {
  const found = new Int32Array(n).fill(-1);
  for (let row = spans.job.length - 1; row >= 0; row--) if (spans.job[row] >= 0) found[spans.job[row]] = row;
  return found;
}

/** The attributes of a span. Those of a job's that its row has are taken from there. */
export function attributesOf(data, row) {
  const place = data.spans.attributes[row];
  const own = place ? JSON.parse(data.text[place]) : {};
  const job = data.spans.job[row];
  if (job < 0 || data.spansOf[job] !== row) return own;
  const { id, runner } = data.runs[data.run[job]];
  const key = data.key[job] ? { 'spanrun.job.key': data.text[data.key[job]] } : {};
  return {
    ...key, 'spanrun.runner.name': runner, 'spanrun.run.id': id, 'spanrun.job.index': data.index[job],
    'spanrun.job.outcome': data.outcomes[data.outcome[job]], 'spanrun.job.attempts': data.attempts[job], ...own,
  };
}

function logsBySpan(logs) {
  const found = new Map();
  logs.span.forEach((span, row) => {
    if (span < 0) return;
    if (!found.has(span)) found.set(span, []);
    found.get(span).push(row);
  });
  for (const rows of found.values()) rows.sort((a, b) => logs.time[a] - logs.time[b] || a - b);
  return found;
}

function eventsOf(raw, named) {
  const { time, kind, run, job, value, text } = raw.events;
  return time.map((at, row) => {
    const itsRun = job[row] >= 0 ? raw.jobs.run[job[row]] : run[row];
    return {
      at, kind: raw.texts[kind[row]], job: job[row], value: value[row], text: raw.texts[text[row]],
      runner: itsRun >= 0 ? named.get(raw.runs[itsRun].runner) : -1,
    };
  });
}

/** The rows of a runner and of a time range: what a view is about. */
export function scopeOf(data, state) {
  const runner = state.runner ? data.named.get(state.runner) ?? -2 : -1;
  const rows = new Int32Array(data.n);
  let size = 0;
  const [from, to] = state.t || [-Infinity, Infinity];
  for (let row = 0; row < data.n; row++) {
    if (runner !== -1 && data.of[row] !== runner) continue;
    if (data.start[row] > to || data.end[row] < from) continue;
    rows[size++] = row;
  }
  return rows.subarray(0, size);
}

/** Of `rows`, those that the filters of the jobs' view leave. */
export function filtered(data, rows, state) {
  const outcome = state.outcome ? data.outcomes.indexOf(state.outcome) : -1;
  const phase = state.phase ? data.names.indexOf(state.phase) : -1;
  const words = state.q ? textsWith(data, state.q) : null;
  const { min = 0, max = Infinity, attempts = 0 } = state;
  return rows.filter((row) =>
    (outcome < 0 || data.outcome[row] === outcome)
    && (phase < 0 || data.most[row] === phase)
    && data.attempts[row] >= attempts
    && data.duration[row] >= min && data.duration[row] <= max
    && (!words || words(row)));
}

/** Whether a row has it. Each filter of a view asks for the same again. */
function textsWith(data, q) {
  if (data.searched?.q !== q) data.searched = { q, found: search(data, q) };
  return data.searched.found;
}

function search(data, q) {
  const wanted = q.toLowerCase();
  const known = new Int8Array(data.text.length); // 1: it has it, -1: it hasn't
  const has = (place) => {
    if (!known[place]) known[place] = place && data.text[place].toLowerCase().includes(wanted) ? 1 : -1;
    return known[place] > 0;
  };
  return (row) => has(data.key[row]) || has(data.error[row]) || has(data.errorType[row])
    || (!data.key[row] && `#${data.index[row]}`.includes(wanted));
}

export const COLUMNS = ['runner', 'key', 'outcome', 'attempts', 'start', 'duration'];

/** Sort `rows` in place by a column or a phase; equal ones by their start. */
export function sorted(data, rows, by, ascending) {
  const phase = data.names.indexOf(by);
  const columns = { runner: data.of, attempts: data.attempts, outcome: data.outcome, start: data.start, duration: data.duration };
  const sign = ascending ? 1 : -1;
  if (by === 'key') {
    const names = new Map();
    const name = (row) => { let key = names.get(row); if (key === undefined) names.set(row, key = keyOf(data, row)); return key; };
    return rows.sort((a, b) => sign * (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0) || a - b);
  }
  const column = phase >= 0 ? data.phases[phase] : columns[by] || data.duration;
  return rows.sort((a, b) => sign * (column[a] - column[b]) || a - b);
}

export function sums(data, rows) {
  const total = data.phases.map((column) => { let sum = 0; for (const row of rows) sum += column[row]; return sum; });
  let all = 0;
  let bad = 0;
  let retries = 0;
  for (const row of rows) {
    all += data.duration[row];
    bad += data.outcome[row] !== 0;
    retries += Math.max(0, data.attempts[row] - 1);
  }
  return { phases: total, all, bad, retries, jobs: rows.length };
}

/** By the nearest rank; of sorted values, at least one. */
export const quantile = (values, p) => values[Math.max(0, Math.ceil((p * values.length) / 100) - 1)];

export const durations = (data, rows) => Float64Array.from(rows, (row) => data.duration[row]).sort();

/** The mean number of jobs under way by phase in each of `bins` parts of time. */
export function stackOf(data, rows, from, to, bins) {
  const width = (to - from) / bins;
  return data.order.map((phase) => {
    const column = data.phases[phase];
    const edge = new Float64Array(bins + 1);
    const level = new Float64Array(bins + 1);
    for (const row of rows) {
      const amount = column[row];
      if (!amount) continue;
      const span = data.duration[row];
      const a = (data.start[row] - from) / width;
      const b = (data.end[row] - from) / width;
      if (b <= 0 || a >= bins) continue;
      const rate = amount / (span || 1);
      const low = Math.max(0, a), high = Math.min(bins, b);
      const first = Math.floor(low), last = Math.min(bins - 1, Math.floor(high));
      if (first >= last) { edge[first] += rate * (high - low); continue; }
      edge[first] += rate * (first + 1 - low);
      edge[last] += rate * (high - last);
      if (last > first + 1) { level[first + 1] += rate; level[last] -= rate; }
    }
    const out = new Float64Array(bins);
    for (let bin = 0, height = 0; bin < bins; bin++) { height += level[bin]; out[bin] = Math.max(0, height + edge[bin]); }
    return out;
  });
}

/** The runner's limit of concurrency, over time, as [from, limit]; none if it has none. */
export function limitsOf(data, runner) {
  const place = data.named.get(runner);
  const given = data.runs.filter((run) => run.runner === runner).map((run) => run.policies?.limit).filter(Boolean);
  const fixed = given.find(({ type, concurrency }) => type === 'Limit' && typeof concurrency === 'number');
  if (fixed) return [[-Infinity, fixed.concurrency]];
  const changes = data.events.filter((event) => event.kind === 'limit' && event.runner === place).map(({ at, value }) => [at, value]).sort((a, b) => a[0] - b[0]);
  const start = given.find(({ start: first }) => typeof first === 'number')?.start;
  return start ? [[-Infinity, start], ...changes] : changes;
}

/** The rows of a trace, or of a job and what is below its span, as a tree in order. */
export function treeOf(data, root, trace) {
  const { parent, start } = data.spans;
  if (!data.traces) {
    data.traces = new Map();
    data.children = new Map();
    data.spans.trace.forEach((id, row) => {
      if (!data.traces.has(id)) data.traces.set(id, []);
      data.traces.get(id).push(row);
    });
    parent.forEach((up, row) => {
      if (up < 0) return;
      if (!data.children.has(up)) data.children.set(up, []);
      data.children.get(up).push(row);
    });
  }
  const roots = root === undefined ? (data.traces.get(trace) || []).filter((row) => parent[row] < 0) : [root];
  const rows = [];
  const waiting = roots.map((row) => [row, 0]).reverse();
  const seen = new Set();
  while (waiting.length) {
    const [row, depth] = waiting.pop();
    if (seen.has(row)) continue;
    seen.add(row);
    rows.push({ row, depth, children: (data.children.get(row) || []).length });
    const below = [...(data.children.get(row) || [])].sort((a, b) => start[b] - start[a]);
    for (const each of below) waiting.push([each, depth + 1]);
  }
  return rows;
}
