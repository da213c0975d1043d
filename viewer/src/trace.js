// What happened to it: the ledger over the spans of a job or of a trace.
import { useMemo, useState } from 'preact/hooks';
import { treeOf, keyOf } from './data.js';
import { line, plural, round, share, ticks, time } from './format.js';
import { criticalPath, ledgerOf } from './ledger.js';
import { Amounts, html, Ledger, Outcome, Rows } from './parts.js';
import { href } from './url.js';
import { Drawer, glyphs, labelOf } from './spans.js';

const SAID = {
  queue: 'waiting for the event loop', limit: 'waiting for a slot', rate_limit: 'waiting for the rate limit', backoff: 'waiting to try again',
  busy: 'computing', loop_lag: 'held up by a blocked event loop', service: 'waiting for the answer',
};

export function Trace(context) {
  const { data, state } = context;
  const job = data.rowOf.get(state.id);
  const text = data.text.indexOf(state.id);
  const root = job === undefined ? undefined : data.spansOf.get(job);
  const tree = useMemo(() => (job !== undefined && root === undefined ? [] : treeOf(data, root, text)), [data, root, text]);
  if (job === undefined && !tree.length) {
    return html`<section class="card"><h1 class="sentence">This trace is not in the recording.</h1><p class="note"><a href=${href({ ...state, view: 'jobs', id: '' })}>← jobs</a></p></section>`;
  }
  return html`<${Title} ...${context} job=${job} tree=${tree} /><${Verdict} data=${data} job=${job} />
    ${tree.length ? html`<${Waterfall} ...${context} job=${job} tree=${tree} />` : html`<${Unkept} data=${data} job=${job} />`}`;
}

function Title({ data, state, job, tree }) {
  const back = html`<a href=${href({ ...state, view: 'jobs', id: '', span: '' })}>← jobs</a>`;
  if (job === undefined) {
    const { row } = tree[0];
    return html`<section class="card"><div class="back">${back}<code>${state.id}</code></div>
      <h1 class="sentence"><bdi>${line(data.text[data.spans.name[row]])}</bdi> took ${time(data.spans.duration[row])}, in ${plural(tree.length, 'span')}.</h1></section>`;
  }
  const parts = data.names.map((name, p) => [name, data.phases[p][job]]).filter(([, amount]) => amount > 0).sort((a, b) => b[1] - a[1]);
  const said = parts.filter(([, amount], place) => place < 3 && (place === 0 || amount > 0.01 * data.duration[job]));
  const runner = data.runs[data.run[job]].runner;
  const trace = data.text[data.trace[job]];
  return html`<section class="card"><div class="back">${back}<span class="tag"><bdi>${line(runner)}</bdi> #${data.index[job]}</span><${Outcome} name=${data.outcomes[data.outcome[job]]} />
      <span class="tag">${plural(data.attempts[job], 'attempt')}</span>${trace && tree.length ? html`<a class="mono" href=${href({ ...state, id: trace, span: '' })}>${trace}</a>` : html`<code>${trace}</code>`}
      <span class="soft" style=${{ marginLeft: 'auto' }}>${standing(data, job, runner)}</span></div>
    <h1 class="sentence"><bdi>${line(keyOf(data, job))}</bdi> took ${time(data.duration[job])}${said.length ? `: ${said.map(([name, amount]) => `${time(amount)} ${SAID[name] || name}`).join(', ')}` : ''}.</h1>
    ${data.error[job] || data.errorType[job] ? html`<pre tabindex="0">${data.text[data.errorType[job]]}: ${line(data.text[data.error[job]])}</pre>` : ''}</section>`;
}

function standing(data, job, runner) {
  let faster = 0;
  let all = 0;
  for (let row = 0; row < data.n; row++) {
    if (data.of[row] !== data.of[job]) continue;
    all += 1;
    faster += data.duration[row] < data.duration[job];
  }
  return all >= 40 ? html`slower than ${share(faster, all)} of <bdi>${line(runner)}</bdi>` : '';
}

/** Where two facts meet: a deadline that passed while the loop was blocked. */
function Verdict({ data, job }) {
  if (job === undefined || data.outcomes[data.outcome[job]] !== 'timed_out') return null;
  const lag = data.phases[data.names.indexOf('loop_lag')][job];
  if (lag < 0.05 * data.duration[job]) return null;
  const service = data.phases[data.names.indexOf('service')][job];
  const limit = data.runs[data.run[job]].policies?.timeout?.attempt;
  return html`<section class="card verdict"><b>Timed out while the event loop was blocked.</b> Of its ${time(data.duration[job])} the loop was held for ${time(lag)}; the service itself had only ${time(service)}${limit ? ` of the ${time(limit * 1e6)} an attempt may take` : ''}.</section>`;
}

function Unkept({ data, job }) {
  const why = data.trace[job] ? 'Its spans are not in this page: its trace was not kept, as the sampling decided, or not chosen.' : 'It had no trace: telemetry recorded its ledger alone.';
  return html`<section class="card"><h2>Ledger of the job</h2><div style=${{ marginBottom: '12px' }}><${Ledger} parts=${ledgerOf(data, job, [])} whole=${Math.max(1, data.duration[job])} names=${true} /></div>
    <${Amounts} names=${data.names} amounts=${data.phases.map((column) => column[job])} all=${data.duration[job]} /><p class="note">${why}</p></section>`;
}

function Waterfall(context) {
  const { data, state, replace, go, keys, job, tree } = context;
  const [path, setPath] = useState(true);
  const folded = useMemo(() => new Set((state.fold || '').split(',').filter(Boolean).map(Number)), [state.fold]);
  const rows = useMemo(() => unfolded(tree, folded), [tree, folded]);
  const { from, to } = useMemo(() => range(data, tree, job), [data, tree, job]);
  const critical = useMemo(() => criticalPath(data, tree), [data, tree]);
  const selected = Math.max(0, rows.findIndex(({ row }) => String(row) === state.span));
  const select = (place) => replace({ span: String(rows[Math.max(0, Math.min(rows.length - 1, place))].row) });
  const fold = (open) => {
    const next = new Set(folded);
    if (open) next.delete(rows[selected].row); else if (rows[selected].children) next.add(rows[selected].row);
    replace({ fold: [...next].join(','), span: String(rows[selected].row) });
  };
  const error = (step) => {
    for (let n = 1; n <= rows.length; n++) {
      const place = (selected + step * n + rows.length * n) % rows.length;
      if (data.spans.status[rows[place].row] === 2) { select(place); return; }
    }
  };
  keys({
    view: 'trace', j: () => select(selected + 1), k: () => select(selected - 1), ArrowDown: () => select(selected + 1), ArrowUp: () => select(selected - 1),
    h: () => fold(false), l: () => fold(true), e: () => error(1), E: () => error(-1), c: () => setPath(!path),
    Escape: () => go({ view: 'jobs', id: '', span: '', fold: '' }),
  });
  const at = (us) => (100 * (us - from)) / (to - from);
  const attempts = tree.filter(({ row }) => data.text[data.spans.name[row]].startsWith('attempt ')).length;
  const ledger = job === undefined ? [] : ledgerOf(data, job, tree);
  return html`<div class="sides"><section class="card flush" aria-label="Spans"><div class="axis"><span>${plural(tree.length, 'span')}</span>
      <div class="marks">${ticks(0, to - from, 4).map((us, place, all) => html`<span style=${{ left: `${at(from + us)}%` }}>${place === all.length - 1 || at(from + us) < 88 ? round(us) : ''}</span>`)}</div><span></span></div>
    ${job !== undefined && html`<div class="lead"><span><b>ledger</b> <span class="soft">= ${time(data.duration[job])}</span></span>
      <div style=${{ marginLeft: `${Math.max(0, at(data.start[job]))}%`, width: `${(100 * data.duration[job]) / (to - from)}%` }}><${Ledger} parts=${ledger} whole=${Math.max(1, data.duration[job])} names=${true} /></div><span></span></div>`}
    <${Rows} count=${rows.length} size=${26} room=${Math.max(300, innerHeight - 330)} label="Spans" role="treegrid" columns=${3} selected=${selected} row=${(place, top) => html`<${SpanRow} key=${rows[place].row} data=${data} at=${at} each=${rows[place]}
      place=${place} top=${top} selected=${place === selected} folded=${folded.has(rows[place].row)} path=${path ? critical.get(rows[place].row) : null} attempts=${attempts} onSelect=${() => select(place)} />`} />
    <p class="keyline">${path ? html`<span title="The last child to end, again and again. Siblings may only seem to depend on each other.">▁ critical path</span>` : ''}<span>↻ retry</span><span>✕ error</span><span>⇉ hedge</span><span>grey: units of spanrun · blue: calls</span></p></section>
    <${Drawer} data=${data} row=${rows[selected].row} from=${from} job=${job} attempts=${attempts} /></div>`;
}

function unfolded(tree, folded) {
  const out = [];
  let hidden = Infinity;
  for (const each of tree) {
    if (each.depth > hidden) continue;
    hidden = folded.has(each.row) ? each.depth : Infinity;
    out.push(each);
  }
  return out;
}

function range(data, tree, job) {
  let from = job === undefined ? Infinity : data.start[job];
  let to = job === undefined ? -Infinity : data.end[job];
  for (const { row } of tree) {
    from = Math.min(from, data.spans.start[row]);
    to = Math.max(to, data.spans.start[row] + data.spans.duration[row]);
  }
  return { from, to: Math.max(to, from + 1) };
}

function SpanRow({ data, at, each, place, top, selected, folded, path, attempts, onSelect }) {
  const { row, depth, children } = each;
  const { start, duration, status, kind } = data.spans;
  const left = at(start[row]);
  const width = at(start[row] + duration[row]) - left;
  const failed = status[row] === 2;
  return html`<div class="span" role="row" id=${`row-${place}`} aria-rowindex=${place + 1} aria-selected=${selected} aria-level=${depth + 1} aria-expanded=${children ? !folded : undefined} style=${{ top: `${top}px` }} onClick=${onSelect}>
    <span role="gridcell" style=${{ paddingLeft: `${Math.min(depth, 12) * 14}px` }}>${folded ? '▸ ' : ''}${failed ? html`<b class="bad">✕ </b>` : ''}<bdi>${labelOf(data, row, attempts)}</bdi></span>
    <span class="lane" role="gridcell"><i class=${`${kind[row] === 2 ? 'call' : ''} ${failed ? 'error' : ''}`} style=${{ left: `${left}%`, width: `${width}%` }}></i>
      ${(path || []).map(([a, b]) => html`<u style=${{ left: `${at(a)}%`, width: `${at(b) - at(a)}%` }}></u>`)}
      ${glyphs(data, row).map(([us, glyph]) => html`<s style=${{ left: `${at(Math.min(us, start[row] + duration[row]))}%`, color: glyph === '✕' ? 'var(--bad)' : '' }}>${glyph}</s>`)}</span>
    <span role="gridcell">${time(duration[row])}</span></div>`;
}
