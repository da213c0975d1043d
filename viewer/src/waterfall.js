// The spans of a job or of a trace, on one axis of time, below the job's ledger.
import { useMemo, useState } from 'preact/hooks';
import { axisOf, gapsOf } from './axis.js';
import { plural, round, time } from './format.js';
import { attributesOf } from './data.js';
import { criticalPath, ledgerOf } from './ledger.js';
import { html, Ledger, Rows } from './parts.js';
import { Drawer, glyphs, labelOf } from './spans.js';

const LEAST = [1e3, 1e4, 1e5, 1e6, 1e7];
const NOTHING = { find: '', least: '' };

export function Waterfall(context) {
  const { data, state, replace, go, keys, job, tree } = context;
  const [path, setPath] = useState(true);
  const [closed, setClosed] = useState(true);
  const folded = useMemo(() => new Set((state.fold || '').split(',').filter(Boolean).map(Number)), [state.fold]);
  const isFiltered = Boolean(state.find || state.least);
  const found = useMemo(() => (isFiltered ? kept(data, tree, state) : tree), [data, tree, state.find, state.least]);
  const rows = useMemo(() => (isFiltered ? found : unfolded(found, folded)), [found, folded]);
  const { from, to } = useMemo(() => range(data, tree, job), [data, tree, job]);
  const gaps = useMemo(() => gapsOf(data, tree, from, to), [tree, from, to]);
  const axis = useMemo(() => axisOf(from, to, closed ? gaps : []), [gaps, closed, from, to]);
  const critical = useMemo(() => criticalPath(data, tree), [data, tree]);
  const shades = useMemo(() => data.events.filter(({ kind, at, value }) => kind === 'blocked' && at < to && at + value > from), [data, from, to]);
  const selected = Math.max(0, rows.findIndex(({ row }) => String(row) === state.span));
  const select = (place) => { if (rows.length) replace({ span: String(rows[Math.max(0, Math.min(rows.length - 1, place))].row) }); };
  const fold = (open) => {
    if (!rows.length) return;
    const next = new Set(folded);
    if (open) next.delete(rows[selected].row); else if (rows[selected].children) next.add(rows[selected].row);
    replace({ fold: [...next].join(','), span: String(rows[selected].row) });
  };
  const error = (step) => {
    const row = nextError(data, found, rows[selected]?.row, step);
    if (row === undefined) return;
    const above = new Set(ancestors(data, row));
    replace({ span: String(row), fold: [...folded].filter((each) => !above.has(each)).join(',') });
  };
  keys({
    view: 'trace', j: () => select(selected + 1), k: () => select(selected - 1), ArrowDown: () => select(selected + 1), ArrowUp: () => select(selected - 1),
    h: () => fold(false), l: () => fold(true), e: () => error(1), E: () => error(-1), c: () => setPath(!path),
    '/': () => document.getElementById('find')?.focus(),
    Escape: () => (isFiltered ? replace(NOTHING) : go({ view: 'jobs', id: '', span: '', fold: '' })),
  });
  const attempts = useMemo(() => attemptsOf(data, tree), [data, tree]);
  const shown = { data, axis, shades, attempts };
  return html`<div class="sides"><section class="card flush" aria-label="Spans"><${Filters} state=${state} replace=${replace} whole=${to - from} gaps=${gaps} closed=${closed} setClosed=${setClosed} />
    <div class="axis"><span role="status">${isFiltered ? `${rows.length} of ` : ''}${plural(tree.length, 'span')}</span>
      <div class="marks">${axis.marks.map((us, place, all) => html`<span style=${{ left: `${axis.at(from + us)}%` }}>${place === all.length - 1 || axis.at(from + us) < 88 ? round(us) : ''}</span>`)}</div><span></span></div>
    ${job !== undefined && html`<${Lead} ...${shown} job=${job} tree=${tree} />`}
    ${rows.length ? html`<${Rows} count=${rows.length} size=${26} room=${Math.max(300, innerHeight - 370)} label="Spans" role="treegrid" columns=${3} selected=${selected} row=${(place, top) => html`<${SpanRow} key=${rows[place].row} ...${shown} each=${rows[place]}
      place=${place} top=${top} selected=${place === selected} folded=${!isFiltered && folded.has(rows[place].row)} path=${path ? critical.get(rows[place].row) : null} onSelect=${() => select(place)} />`} />`
      : html`<p class="keyline">No span has all of this. <button class="chip" onClick=${() => replace(NOTHING)}>Clear the filters</button></p>`}
    <p class="keyline">${path ? html`<span title="The last child to end, again and again. Siblings may only seem to depend on each other.">▁ critical path</span>` : ''}<span>↻ retry</span><span>✕ error</span><span>⇉ hedge</span>
      ${shades.length ? html`<span><i class="dot" style=${{ background: 'var(--loop_lag)', opacity: 0.4 }}></i>the event loop was blocked</span>` : ''}<span>grey: units of spanrun · blue: calls</span></p></section>
    ${rows.length > 0 && html`<${Drawer} data=${data} state=${state} row=${rows[selected].row} from=${from} job=${job} attempts=${attempts} />`}</div>`;
}

/** How many attempts are below each span. */
function attemptsOf(data, tree) {
  const found = new Map();
  for (const { row } of tree) {
    const up = data.spans.parent[row];
    if (data.text[data.spans.name[row]].startsWith('attempt ')) found.set(up, (found.get(up) || 0) + 1);
  }
  return found;
}

function Filters({ state, replace, whole, gaps, closed, setClosed }) {
  const least = LEAST.filter((us) => us < whole).slice(-3);
  return html`<div class="tools filters" tabindex="0" role="group" aria-label="Filters"><input id="find" type="search" placeholder="span, attribute or error  /" aria-label="Search in the spans" value=${state.find || ''} onInput=${(e) => replace({ find: e.currentTarget.value })} />
    ${least.length > 0 && html`<span>took</span>`}${least.map((us) => html`<button class="chip" aria-pressed=${state.least === us} onClick=${() => replace({ least: state.least === us ? '' : us })}>≥ ${round(us)}</button>`)}
    ${gaps.length > 0 && html`<button class="chip" aria-pressed=${closed} onClick=${() => setClosed(!closed)}>${gaps.length} empty ${gaps.length === 1 ? 'stretch' : 'stretches'} folded</button>`}</div>`;
}

/** The ledger of the job, where its spans are. */
function Lead({ data, axis, shades, job, tree }) {
  const begin = data.start[job];
  const left = axis.at(begin);
  const wide = Math.max(1e-9, axis.at(data.end[job]) - left);
  const width = (a, b) => (axis.at(begin + b) - axis.at(begin + a)) / wide;
  return html`<div class="lead"><span><b>ledger</b> <span class="soft">= ${time(data.duration[job])}</span></span>
    <div class="lane"><${Behind} axis=${axis} shades=${shades} /><div style=${{ marginLeft: `${left}%`, width: `${wide}%`, position: 'relative' }}><${Ledger} parts=${ledgerOf(data, job, tree)} whole=${Math.max(1, data.duration[job])} names=${true} width=${width} /></div></div><span></span></div>`;
}

/** When the loop was blocked, and what is folded. */
const Behind = ({ axis, shades }) => html`${shades.map(({ at, value }) => html`<em style=${{ left: `${axis.at(at)}%`, width: `${Math.max(0.2, axis.at(at + value) - axis.at(at))}%` }}></em>`)}
  ${axis.gaps.map(({ a, b, left, width }) => html`<b title=${`${time(b - a)} in which nothing happens`} style=${{ left: `${left}%`, width: `${width}%` }}></b>`)}`;

/** As the other attributes are written. */
const listed = (its) => Object.entries(its).map((pair) => pair.map((each) => JSON.stringify(each)).join(': ')).join(', ');

/** The spans that the filters leave, and those that they are below. */
function kept(data, tree, { find = '', least = 0 }) {
  const wanted = find.toLowerCase();
  const { name, attributes, message, events, duration, job } = data.spans;
  const texts = (row) => [...[name, attributes, message, events].map((column) => data.text[column[row]]), job[row] < 0 || data.spansOf[job[row]] !== row ? '' : listed(attributesOf(data, row))];
  const has = (row) => duration[row] >= least && (!wanted || texts(row).some((text) => text.toLowerCase().includes(wanted)));
  const keep = new Set();
  const above = [];
  for (const { row, depth } of tree) {
    above.length = depth;
    above[depth] = row;
    if (has(row)) above.forEach((each) => keep.add(each));
  }
  return tree.filter(({ row }) => keep.has(row));
}

function nextError(data, tree, row, step) {
  const at = Math.max(0, tree.findIndex((each) => each.row === row));
  for (let n = 1; n <= tree.length; n++) {
    const each = tree[(at + step * n + tree.length * n) % tree.length];
    if (data.spans.status[each.row] === 2) return each.row;
  }
  return undefined;
}

function ancestors(data, row) {
  const found = [];
  for (let up = data.spans.parent[row]; up >= 0 && !found.includes(up); up = data.spans.parent[up]) found.push(up);
  return found;
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

function SpanRow({ data, axis, shades, each, place, top, selected, folded, path, attempts, onSelect }) {
  const { row, depth, children } = each;
  const { start, duration, status, kind } = data.spans;
  const { at } = axis;
  const left = at(start[row]);
  const width = at(start[row] + duration[row]) - left;
  const failed = status[row] === 2;
  return html`<div class="span" role="row" id=${`row-${place}`} aria-rowindex=${place + 1} aria-selected=${selected} aria-level=${depth + 1} aria-expanded=${children ? !folded : undefined} style=${{ top: `${top}px` }} onClick=${onSelect}>
    <span role="gridcell" style=${{ paddingLeft: `${Math.min(depth, 12) * 14}px` }}>${folded ? '▸ ' : ''}${failed ? html`<b class="bad">✕ </b>` : ''}<bdi>${labelOf(data, row, attempts)}</bdi></span>
    <span class="lane" role="gridcell"><${Behind} axis=${axis} shades=${shades} /><i class=${`${kind[row] === 2 ? 'call' : ''} ${failed ? 'error' : ''}`} style=${{ left: `${left}%`, width: `${width}%` }}></i>
      ${(path || []).map(([a, b]) => html`<u style=${{ left: `${at(a)}%`, width: `${at(b) - at(a)}%` }}></u>`)}
      ${glyphs(data, row).map(([us, glyph]) => html`<s style=${{ left: `${at(Math.min(us, start[row] + duration[row]))}%`, color: glyph === '✕' ? 'var(--bad)' : '' }}>${glyph}</s>`)}</span>
    <span role="gridcell">${time(duration[row])}</span></div>`;
}
