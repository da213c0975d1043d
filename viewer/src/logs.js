// The log records that were received: which, of what level, and where they belong.
import { useMemo } from 'preact/hooks';
import { count, inert, line, plural, share, time } from './format.js';
import { next } from './keys.js';
import { html, Level, levelOf, LEVELS, Rows } from './parts.js';
import { Facts } from './spans.js';
import { href } from './url.js';

export function Logs(context) {
  const { data, state, go, replace, keys } = context;
  const { logs } = data;
  const inTime = useMemo(() => within(data, state), [data, String(state.t)]);
  const found = useMemo(() => searched(data, inTime, state.q), [data, inTime, state.q]);
  const rows = useMemo(() => (state.level ? found.filter((row) => levelOf(logs.level[row]) === state.level) : found), [found, state.level]);
  const selected = Math.max(0, rows.indexOf(Number(state.log ?? -1)));
  const select = (place) => { if (rows.length) replace({ log: String(rows[Math.max(0, Math.min(rows.length - 1, place))]) }); };
  const counts = useMemo(() => LEVELS.map(([name]) => [name, found.reduce((sum, row) => sum + (levelOf(logs.level[row]) === name), 0)]), [found]);
  keys({
    view: 'logs', j: () => select(selected + 1), k: () => select(selected - 1), ArrowDown: () => select(selected + 1), ArrowUp: () => select(selected - 1),
    o: () => replace({ level: next(['', ...counts.filter(([, n]) => n).map(([name]) => name)], state.level || '', 1) }),
    '/': () => document.getElementById('search')?.focus(),
    Enter: () => { if (rows.length && logs.span[rows[selected]] >= 0) go(spanOf(data, rows[selected])); },
    Escape: () => go({ q: '', level: '' }),
  });
  if (!data.logs.time.length) return html`<section class="card"><h1 class="sentence">There are no log records: <code>sr.configure(logs="INFO")</code> keeps those of jobs.</h1></section>`;
  return html`<section class="card"><h1 class="sentence">${sentence(data, inTime)}</h1>
      <div class="tools" tabindex="0" role="group" aria-label="Filters"><input id="search" type="search" placeholder="text or attribute  /" aria-label="Search in the log records" value=${state.q || ''} onInput=${(e) => replace({ q: e.currentTarget.value })} />
        ${counts.map(([name, n]) => (n || state.level === name) && html`<button class="chip" aria-pressed=${state.level === name} onClick=${() => replace({ level: state.level === name ? '' : name })}>${name} <i class=${name === 'error' ? 'bad' : ''}>${count(n)}</i></button>`)}</div></section>
    <div class="sides"><section class="card flush" aria-label="Log records">${rows.length ? html`<${Rows} count=${rows.length} size=${28} room=${Math.max(300, innerHeight - 300)} label=${`${count(rows.length)} log records`} columns=${3} selected=${selected}
        row=${(place, top) => html`<${Record} key=${rows[place]} data=${data} row=${rows[place]} place=${place} top=${top} selected=${place === selected} onSelect=${() => select(place)} />`} />`
      : html`<p class="keyline">No record has all of this. <button class="chip" onClick=${() => go({ q: '', level: '' })}>Clear the filters</button></p>`}
      <p class="keyline" role="status">${count(rows.length)} of ${plural(inTime.length, 'record')}</p></section>
    ${rows.length > 0 && html`<${Whole} data=${data} state=${state} row=${rows[selected]} />`}</div>`;
}

/** By their time: they came in the order of their exports. */
function within(data, { t }) {
  const { time: at } = data.logs;
  const rows = at.map((_, row) => row).filter((row) => !t || (at[row] >= t[0] && at[row] <= t[1]));
  return rows.sort((a, b) => at[a] - at[b] || a - b);
}

function searched(data, rows, q) {
  if (!q) return rows;
  const wanted = q.toLowerCase();
  const { text, attributes, scope } = data.logs;
  return rows.filter((row) => [text, attributes, scope].some((column) => data.text[column[row]].toLowerCase().includes(wanted)));
}

function sentence(data, rows) {
  const { level, text } = data.logs;
  const bad = rows.filter((row) => level[row] >= 17);
  if (!bad.length) return `${plural(rows.length, 'log record')}, and no error among them.`;
  const times = new Map();
  for (const row of bad) {
    const said = line(data.text[text[row]].slice(0, 120).replace(/\d+/g, '#'));
    times.set(said, (times.get(said) || 0) + 1);
  }
  const [said, n] = [...times].reduce((a, b) => (b[1] > a[1] ? b : a));
  return html`${count(bad.length)} of ${plural(rows.length, 'log record')}, ${share(bad.length, rows.length)}, ${bad.length === 1 ? 'is an error' : 'are errors'}${n > 1 ? ', most often' : ', such as'}: <bdi>${said}</bdi>`;
}

function Record({ data, row, place, top, selected, onSelect }) {
  const { time: at, level, text } = data.logs;
  return html`<div class="record" role="row" id=${`row-${place}`} aria-rowindex=${place + 1} aria-selected=${selected} style=${{ top: `${top}px` }} onClick=${onSelect}>
    <span class="right soft" role="gridcell">${time(at[row])}</span><span role="gridcell"><${Level} number=${level[row]} /></span><span role="gridcell"><bdi>${line(data.text[text[row]])}</bdi></span></div>`;
}

const spanOf = (data, row) => ({ view: 'trace', id: data.text[data.logs.trace[row]], span: String(data.logs.span[row]), fold: '', find: '', least: '' });

function Whole({ data, state, row }) {
  const { time: at, level, text, trace, span, attributes, scope } = data.logs;
  return html`<aside class="card drawer" aria-label="Log record"><h2><${Level} number=${level[row]} /> <span class="soft">at ${time(at[row])}</span></h2>
    <pre tabindex="0">${inert(data.text[text[row]])}</pre>
    <dl class="facts">${scope[row] ? html`<dt>logger</dt><dd><bdi>${line(data.text[scope[row]])}</bdi></dd>` : ''}
      ${trace[row] ? html`<dt>${span[row] >= 0 ? 'span' : 'trace'}</dt><dd>${span[row] >= 0
    ? html`<a href=${href({ ...state, ...spanOf(data, row) })}><bdi>${line(data.text[data.spans.name[span[row]]])}</bdi></a>` : html`<code>${data.text[trace[row]]}</code> <span class="soft">not in this page</span>`}</dd>` : ''}</dl>
    ${attributes[row] ? html`<h3>Attributes</h3><${Facts} of=${JSON.parse(data.text[attributes[row]])} />` : ''}</aside>`;
}
