// From a server: the list of sessions, and the data of one, as it changes.
import { useEffect, useRef, useState } from 'preact/hooks';
import { App } from './app.js';
import { prepare } from './data.js';
import { clock } from './format.js';
import { html } from './parts.js';
import { json } from './server.js';
import { Sessions } from './sessions.js';
import { read } from './url.js';

const asked = () => (location.hash === '#/' ? '' : read(location.hash).session || 'last');

export function Live() {
  const [name, setName] = useState(asked());
  const newest = useRef('');
  useEffect(() => {
    // Going on in the newest session only gives it its name: what is shown of it stays.
    const heard = () => setName((now) => (now === 'last' && asked() === newest.current ? now : asked()));
    addEventListener('hashchange', heard);
    return () => removeEventListener('hashchange', heard);
  }, []);
  return name ? html`<${Session} key=${name} name=${name} newest=${newest} />` : html`<${Sessions} />`;
}

/** What is shown never moves by itself in a table: what is newer waits until asked. */
function Session({ name, newest }) {
  const [data, setData] = useState(null);
  const [counts, setCounts] = useState(null);
  const [fault, setFault] = useState('');
  const source = useRef(null);
  useEffect(() => {
    const shown = (its) => { newest.current = its.session.id; setData(its); };
    const found = follow(name, { shown, counted: setCounts, failed: setFault });
    source.current = found;
    return () => found.close();
  }, [name]);
  useEffect(() => {
    const heard = () => source.current.look();
    addEventListener('hashchange', heard);
    return () => removeEventListener('hashchange', heard);
  }, []);
  if (!data) return html`<p class="note" role="status">${fault || 'Reading the recording …'}</p>`;
  const more = counts ? counts.jobs - data.counts.jobs + counts.logs - data.counts.logs : 0;
  return html`<${App} data=${data} live=${{ fault, more, show: () => source.current.show() }} />`;
}

/** Of a core, the part that drawing what is new may take. */
const SHARE = 0.05;

/** Read a session, and then what is new of it, as long as it is open. */
function follow(name, { shown, counted, failed }) {
  let which = '';
  let stream = null;
  let raw = null;
  let waiting = [];
  let timer = 0;
  let next = 0;
  let heard = Date.now();
  let closed = false;
  const draw = () => {
    clearTimeout(timer);
    timer = 0;
    const began = performance.now();
    if (waiting.length) raw = joined(raw, waiting);
    waiting = [];
    shown(prepare(raw));
    // It is drawn before the browser does anything else.
    setTimeout(() => { next = performance.now() + Math.min(10000, (performance.now() - began) / SHARE); });
  };
  const look = () => {
    if (waiting.length && !still() && !timer) timer = setTimeout(() => { timer = 0; if (!closed && !still()) draw(); }, Math.max(0, next - performance.now()));
  };
  const read = async () => {
    stream?.close();
    which = `name=${encodeURIComponent(asked() || name)}`;
    try {
      const found = await json(`data?${which}`);
      if (closed) return;
      failed('');
      if (raw && still()) waiting = [found];
      else { raw = found; waiting = []; draw(); }
      counted(found.counts);
      listen(found.at);
    } catch (error) {
      if (closed) return;
      failed(error.message);
      setTimeout(() => { if (!closed) read(); }, 2000);
    }
  };
  const listen = (at) => {
    stream = new EventSource(`changes?${which}&since=${at}`);
    stream.onopen = () => { heard = Date.now(); failed(''); };
    stream.onmessage = ({ data }) => {
      const delta = JSON.parse(data);
      heard = Date.now();
      failed('');
      waiting.push(delta);
      counted(delta.counts);
      look();
    };
    stream.addEventListener('reset', read);
    stream.addEventListener('fault', ({ data }) => failed(JSON.parse(data)));
    stream.onerror = () => failed(`the connection is lost: this is as it was at ${clock(heard)}`);
  };
  read();
  return { look, show: draw, close: () => { closed = true; clearTimeout(timer); stream?.close(); } };
}

const COLUMNS = [['spans', 'parent'], ['spans', 'job'], ['events', 'job'], ['logs', 'span']];

/** What a page had, and what is new since: an object of its own, the old one stays. */
export function joined(raw, deltas) {
  const whole = deltas.findLastIndex((delta) => delta.format);
  if (whole >= 0) return joined(deltas[whole], deltas.slice(whole + 1));
  const out = { ...raw, runs: [...raw.runs], texts: raw.texts.concat(...deltas.map((each) => each.texts)) };
  for (const table of ['jobs', 'spans', 'events', 'fixes', 'logs']) {
    out[table] = Object.fromEntries(Object.keys(raw[table]).map(
      (column) => [column, raw[table][column].concat(...deltas.map((each) => each[table][column]))],
    ));
  }
  for (const delta of deltas) {
    for (const [place, run] of delta.runs) out.runs[place] = run;
    for (const part of ['at', 'session', 'runners', 'causes', 'objectives', 'metrics', 'counts']) if (delta[part]) out[part] = delta[part];
    const { column, row, value } = delta.fixes;
    column.forEach((which, n) => { const [table, name] = COLUMNS[which]; out[table][name][row[n]] = value[n]; });
  }
  return out;
}

/** Whether the view has rows that must not move. */
const still = () => ['jobs', 'trace', 'compare', 'logs'].includes(read(location.hash).view);
