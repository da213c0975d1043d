// Which job: the table, its filters and its search.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { COLUMNS, filtered, keyOf, nameOf, rowNamed, sorted, sums } from './data.js';
import { cell, count, line, plural, share, time } from './format.js';
import { next } from './keys.js';
import { Dot, html, Ledger, Outcome, Rows, useNarrow, WORDS } from './parts.js';
import { FILTERS } from './url.js';

const HEADS = [['runner', 'runner', ''], ['key', 'key', ''], ['outcome', 'outcome', ''], ['attempts', 'att.', 'right'],
  ['start', 'start', 'right'], ['duration', 'duration', 'right']];
const ROOM = 560;
const REASONS = {
  queue: 'waits for the event loop', limit: 'waits for a slot', rate_limit: 'waits for the rate limit',
  backoff: 'waits to try again', busy: 'keeps the event loop busy', loop_lag: 'is held up by a blocked event loop', service: 'waits for the answer',
};

export function Jobs(context) {
  const { data, state, go, replace, scope, keys } = context;
  const narrow = useNarrow();
  const by = state.sort || 'duration';
  const ascending = state.dir === 'asc';
  const { rows, took } = useMemo(() => {
    const began = performance.now();
    const found = sorted(data, filtered(data, scope, state), by, ascending);
    return { rows: found, took: performance.now() - began };
  }, [data, scope, by, ascending, ...FILTERS.map((name) => state[name])]);
  const selected = useMemo(() => (state.job ? rows.indexOf(rowNamed(data, state.job) ?? -1) : -1), [rows, state.job]);
  const select = (place) => rows.length && replace({ job: nameOf(data, rows[Math.max(0, Math.min(rows.length - 1, place))]) });
  const open = (place) => {
    if (place < 0) return;
    replace({ job: nameOf(data, rows[place]) });
    go({ view: 'trace', id: nameOf(data, rows[place]), job: nameOf(data, rows[place]), span: '' });
  };
  const clear = () => go(Object.fromEntries(FILTERS.map((name) => [name, ''])));
  const phases = data.names.filter((name, p) => scope.some((row) => data.most[row] === p));
  keys({
    view: 'jobs', j: () => select(selected + 1), k: () => select(Math.max(0, selected - 1)), Enter: () => open(selected),
    ArrowDown: () => select(selected + 1), ArrowUp: () => select(Math.max(0, selected - 1)),
    o: () => go({ outcome: next(['', ...data.outcomes], state.outcome || '', 1) }),
    p: () => go({ phase: next(['', ...phases], state.phase || '', 1) }),
    a: () => go({ attempts: state.attempts ? '' : 2 }),
    s: () => go({ sort: next(COLUMNS, COLUMNS.includes(by) ? by : 'duration', 1), dir: '' }),
  });
  const sort = (name) => go({ sort: name, dir: by === name && !ascending ? 'asc' : '' });
  if (!scope.length) return html`<section class="card"><h1 class="sentence">There are no jobs here.</h1></section>`;
  const most = rows.reduce((a, row) => Math.max(a, data.duration[row]), 1);
  const heads = HEADS.map(([name, word, kind]) => html`<div class=${kind} role="columnheader" aria-sort=${by === name ? (ascending ? 'ascending' : 'descending') : 'none'}>
    <button tabindex="-1" onClick=${() => sort(name)}>${word} ${by === name ? (ascending ? '↑' : '↓') : ''}</button></div>`);
  const head = narrow ? null : html`<div role="rowgroup" class="top"><div class="heads" role="row" aria-rowindex="1">${heads}<div role="columnheader"
    aria-sort=${data.names.includes(by) ? (ascending ? 'ascending' : 'descending') : 'none'}>ledger${data.names.includes(by) ? `, by ${by} ${ascending ? '↑' : '↓'}` : ''}, to one scale (amounts, not times)</div><div role="columnheader">trace</div></div></div>`;
  return html`<section class="card"><h1 class="sentence">${sentence(data, rows, state)}</h1>
    <${Tools} ...${context} phases=${phases} />
    ${rows.length ? html`<div class="scroll"><div class="grid">
      <${Rows} count=${rows.length} size=${narrow ? 52 : 28} room=${narrow ? innerHeight - 260 : Math.max(280, Math.min(ROOM, innerHeight - 330))} label=${`${count(rows.length)} jobs`} columns=${8} head=${head} headSize=${narrow ? 0 : 33} selected=${selected}
        row=${(place, top) => html`<${Job} key=${rows[place]} data=${data} row=${rows[place]} place=${place} top=${top} most=${most}
          selected=${place === selected} onSelect=${() => select(place)} onOpen=${() => open(place)} />`} /></div></div>`
      : html`<p class="note">No job is left. <button class="chip" onClick=${clear}>Clear the filters</button></p>`}
    <p class="note"><span role="status">${count(rows.length)} of ${plural(scope.length, 'job')}</span> · filtered and sorted in ${Math.round(took)} ms
      ${rows.length ? html` · <button onClick=${() => csv(data, rows)} style=${{ color: 'var(--accent)' }}>save as CSV</button>` : ''}</p></section>`;
}

function sentence(data, rows, state) {
  if (!rows.length) return 'No job has all of this.';
  const total = sums(data, rows);
  const all = data.duration.reduce((a, b) => a + b, 0);
  const part = `${time(total.all)} of job time, ${share(total.all, all)} of all.`;
  if (!state.phase) return `${plural(rows.length, 'job')}: ${part}`;
  return `${plural(rows.length, 'job')}, most of whose time ${REASONS[state.phase] || state.phase}: ${part}`;
}

function Tools({ data, state, go, replace, scope, phases }) {
  const waiting = useRef(0);
  const [typed, setTyped] = useState(state.q || '');
  useEffect(() => setTyped(state.q || ''), [state.q]);
  const search = (q) => {
    setTyped(q);
    clearTimeout(waiting.current);
    waiting.current = setTimeout(() => replace({ q }), 60);
  };
  const within = (without) => filtered(data, scope, { ...state, [without]: '' });
  const outcomes = within('outcome');
  const mostly = within('phase');
  const again = within('attempts').reduce((sum, row) => sum + (data.attempts[row] >= 2), 0);
  const chip = (name, value, n, body, bad) => html`<button class="chip" aria-pressed=${String(state[name]) === String(value)}
    onClick=${() => go({ [name]: String(state[name]) === String(value) ? '' : value })}>${body} <i class=${bad ? 'bad' : ''}>${count(n)}</i></button>`;
  const number = (column, rows, value) => rows.reduce((sum, row) => sum + (column[row] === value), 0);
  return html`<div class="tools" tabindex="0" role="group" aria-label="Filters"><input id="search" type="search" placeholder="key or error  /" aria-label="Search in key and error" value=${typed} onInput=${(e) => search(e.currentTarget.value)} />
    <span>outcome</span>${data.outcomes.map((name, place) => { const n = number(data.outcome, outcomes, place); return n || state.outcome === name ? chip('outcome', name, n, WORDS[name] || name, place > 0) : ''; })}
    <span>attempts</span>${chip('attempts', 2, again, '≥ 2')}
    <span>mostly</span>${phases.map((name) => chip('phase', name, number(data.most, mostly, data.names.indexOf(name)), html`<${Dot} phase=${name} />${name}`))}</div>`;
}

function Job({ data, row, place, top, most, selected, onSelect, onOpen }) {
  const runner = data.runs[data.run[row]].runner;
  const trace = data.text[data.trace[row]];
  const parts = data.order.map((p) => [data.names[p], data.phases[p][row]]).reverse();
  return html`<div class="row" role="row" id=${`row-${place}`} aria-rowindex=${place + 2} aria-selected=${selected} style=${{ top: `${top}px` }} data-row=${row}
    onClick=${onSelect} onDblClick=${onOpen}>
    <span class="runner" role="gridcell"><bdi>${line(runner)}</bdi></span><span role="gridcell"><bdi>${line(keyOf(data, row))}</bdi></span>
    <span role="gridcell"><${Outcome} name=${data.outcomes[data.outcome[row]]} /></span>
    <span class="att right ${data.attempts[row] > 1 ? '' : 'soft'}" role="gridcell">${data.attempts[row]}</span>
    <span class="start right soft" role="gridcell">${time(data.start[row])}</span><span class="dur right" role="gridcell">${time(data.duration[row])}</span>
    <span class="ledger" role="gridcell" style=${{ overflow: 'visible' }}><${Inner} parts=${parts} most=${most} /></span>
    <span class="trace mono" role="gridcell"><a tabindex="-1" href="#" onClick=${(e) => { e.preventDefault(); onOpen(); }}>${trace ? trace.slice(0, 8) : 'ledger'}</a></span></div>`;
}

const Inner = ({ parts, most }) => html`<div style=${{ width: '100%' }}><${Ledger} parts=${parts} whole=${most * 1.03} /></div>`;

function csv(data, rows) {
  const lines = [['runner', 'index', 'key', 'outcome', 'attempts', 'start_s', 'duration_s', ...data.names.map((name) => `${name}_s`), 'error_type', 'error', 'trace']];
  for (const row of rows) {
    lines.push([data.runs[data.run[row]].runner, data.index[row], data.text[data.key[row]], data.outcomes[data.outcome[row]], data.attempts[row],
      data.start[row] / 1e6, data.duration[row] / 1e6, ...data.phases.map((column) => column[row] / 1e6),
      data.text[data.errorType[row]], data.text[data.error[row]], data.text[data.trace[row]]]);
  }
  const text = lines.map((each) => each.map(cell).join(',')).join('\r\n');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([`${text}\r\n`], { type: 'text/csv' }));
  link.download = 'jobs.csv';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
