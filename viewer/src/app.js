// The frame: header, runners, the view, and the keys.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Compare } from './compare.js';
import { Failures } from './failures.js';
import { clock, count, line, offset, share, time } from './format.js';
import { scopeOf } from './data.js';
import { Jobs } from './jobs.js';
import { keyPressed, KEYS } from './keys.js';
import { Logs } from './logs.js';
import { Metrics } from './metrics.js';
import { Overview } from './overview.js';
import { html, Name } from './parts.js';
import { onTheme } from './theme.js';
import { Trace } from './trace.js';
import { href, read } from './url.js';

const VIEWS = ['overview', 'jobs', 'failures', 'compare', 'trace', 'metrics', 'logs'];
/** They are of something else than a runner's jobs in a range of time. */
const APART = ['trace', 'compare', 'metrics', 'logs'];

export function App({ data, live }) {
  const [hash, setHash] = useState(location.hash);
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const dialog = useRef(null);
  useEffect(() => {
    const heard = () => setHash(location.hash);
    addEventListener('hashchange', heard);
    const off = onTheme(() => setTheme(document.documentElement.dataset.theme));
    return () => { removeEventListener('hashchange', heard); off(); };
  }, []);
  const state = useMemo(() => complete(data, read(hash)), [hash]);
  const go = (patch, keep = true) => {
    const next = href({ ...(keep ? state : {}), session: data.session.id, ...patch });
    if (next !== location.hash) location.hash = next;
  };
  const replace = (patch) => {
    history.replaceState(null, '', href({ ...state, ...patch }));
    setHash(location.hash);
  };
  const scope = useMemo(() => scopeOf(data, state), [data, state.runner, String(state.t)]);
  const before = data.compare?.a.id || (live && data.session.before) || '';
  const context = { data, state, go, replace, scope, theme, live, before };
  const handlers = useRef({});
  handlers.current = { ...context, help: () => dialog.current.showModal(), view: handlers.current.view };
  context.keys = (view) => { handlers.current.view = view; };
  useEffect(() => {
    const heard = (event) => keyPressed(event, handlers.current);
    addEventListener('keydown', heard);
    return () => removeEventListener('keydown', heard);
  }, []);
  useEffect(() => { document.body.dataset.ready = '1'; }, []);
  useEffect(() => { document.title = `spanrun · ${state.view} · ${commandOf(data)}`; }, [state.view]);
  const View = { overview: Overview, jobs: Jobs, failures: Failures, trace: Trace, compare: Compare, metrics: Metrics, logs: Logs }[state.view];
  return html`<${Header} ...${context} help=${handlers.current.help} />
    <main id="main">${live && html`<${News} ...${live} />`}${!APART.includes(state.view) && html`<${Runners} ...${context} />`}
    ${(!APART.includes(state.view) || state.view === 'logs') && state.t && html`<${Range} ...${context} />`}
    <${View} ...${context} /><${Notes} data=${data} /></main>
    <dialog ref=${dialog} aria-label="Keys"><h2>Keys</h2><div class="keys">${KEYS.map(([keys, what]) => html`
      <div>${keys.map((key) => html`<kbd>${key}</kbd> `)} ${what}</div>`)}</div>
      <form method="dialog"><button class="chip">Close</button></form></dialog>`;
}

function complete(data, state) {
  const first = data.compare && !state.session ? { view: 'compare', id: data.compare.a.id } : {};
  const view = VIEWS.includes(state.view) ? state.view : 'overview';
  return { ...state, view, session: data.session.id, ...first };
}

/** The program's name, without its folder. */
function commandOf(data) {
  const words = data.session.command.split(' ');
  const name = words[0].split('/').pop();
  return line(/^python[\d.]*$/.test(name) && words[1] ? words[1].split('/').pop() : [name, ...words.slice(1)].join(' '));
}

function Header({ data, state, help, live, before }) {
  const { zero_ms: zero, duration } = data.session;
  const link = (view) => href({ ...state, view, id: '', span: '', job: view === 'jobs' ? state.job : '', find: '', least: '', log: view === 'logs' ? state.log : '' });
  const here = state.view === 'trace' ? 'jobs' : state.view;
  const shown = (view) => (here === view ? 'page' : undefined);
  const jobs = data.runners.reduce((sum, each) => sum + each.jobs, 0);
  const bad = data.runners.reduce((sum, each) => sum + each.bad, 0);
  return html`<header><div class="bar">${live ? html`<a href="#/"><b>spanrun</b></a>` : html`<b>spanrun</b>`}
    <span class="about" title=${`${line(data.session.command)} · ${clock(zero)} ${offset(zero)}`}>
      <bdi>${commandOf(data)}</bdi> · ${clock(zero)} ${offset(zero)} · ${time(duration)}${data.runs.some((run) => run.end === null) ? ', not ended' : ''}</span>
    <nav aria-label="Views">
      <a href=${link('overview')} aria-current=${shown('overview')}>Overview</a>
      <a href=${link('jobs')} aria-current=${shown('jobs')}>Jobs <i>${count(jobs)}</i></a>
      <a href=${link('failures')} aria-current=${shown('failures')}>Failures <i class=${bad ? 'bad' : ''}>${count(bad)}</i></a>
      ${data.metrics && html`<a href=${link('metrics')} aria-current=${shown('metrics')}>Metrics <i>${count(data.metrics.metrics)}</i></a>`}
      ${data.logs.time.length > 0 && html`<a href=${link('logs')} aria-current=${shown('logs')}>Logs <i>${count(data.counts.logs)}</i></a>`}
      ${before && html`<a href=${href({ ...state, view: 'compare', id: state.view === 'compare' ? state.id : before })} aria-current=${shown('compare')}>Compare</a>`}
    </nav>
    <span class="hint">search <kbd>/</kbd> <button onClick=${help}>keys <kbd>?</kbd></button></span>
  </div></header>`;
}

function Runners({ data, state, go }) {
  if (data.runners.length < 2) return null;
  const jobs = data.runners.reduce((sum, each) => sum + each.jobs, 0);
  return html`<div class="strip" role="group" aria-label="Runner" tabindex="0"><span>runner</span>
    <button class="chip" aria-pressed=${!state.runner} onClick=${() => go({ runner: '' })}>all <i>${count(jobs)}</i></button>
    ${data.runners.map((each) => html`<button class="chip" aria-pressed=${state.runner === each.name}
      onClick=${() => go({ runner: state.runner === each.name ? '' : each.name })}>
      <${Name} text=${each.name} /> <i>${count(each.jobs)}</i>${each.bad ? html`<i class="bad">✕ ${count(each.bad)}</i>` : ''}</button>`)}
  </div>`;
}

/** Of a server: that there is more, or that it can't be asked any more. */
function News({ fault, more, show }) {
  return html`<div class=${fault || more > 0 ? 'strip' : ''} role="status">${fault ? html`<span>as it was last: ${fault}</span>` : ''}
    ${more > 0 ? html`<button class="chip" onClick=${show}>${count(more)} new</button>` : ''}</div>`;
}

function Range({ state, go, data, scope }) {
  return html`<div class="strip"><span>time</span><button class="chip" aria-pressed="true" onClick=${() => go({ t: null })}>
    ${time(state.t[0])} to ${time(state.t[1])} <i>✕</i></button>
    <span>${count(scope.length)} jobs were under way, ${share(scope.length, data.n)} of all</span></div>`;
}

function Notes({ data }) {
  const { counts, session } = data;
  const notes = [];
  if (counts.jobs_shown < counts.jobs) notes.push(`Of ${count(counts.jobs)} jobs, ${count(counts.jobs_shown)} are in this page: those that aren't ok, the slowest, and a sample of the rest. The sums by runner hold all.`);
  if (counts.spans_shown < counts.spans) notes.push(`Of ${count(counts.spans)} spans, ${count(counts.spans_shown)} are in this page.`);
  if (counts.logs_shown < counts.logs) notes.push(`Of ${count(counts.logs)} log records, ${count(counts.logs_shown)} are in this page: the newest.`);
  if (counts.points_shown < counts.points) notes.push(`Of ${count(counts.points)} points of metrics, ${count(counts.points_shown)} are in this page: the newest.`);
  if (counts.logs_gone || counts.points_gone) notes.push(`${count(counts.logs_gone)} log records and ${count(counts.points_gone)} points of metrics were deleted before, as the file of what was received had become too large.`);
  const service = data.names.indexOf('service');
  const foreign = data.runners.filter((each) => each.phases[service] > 0 && each.phases.every((amount, phase) => phase === service || !amount));
  if (foreign.length) notes.push(`${foreign.length < data.runners.length ? `${foreign.slice(0, 3).map((each) => line(each.name)).join(', ')}${foreign.length > 3 ? ' and others' : ''}: these` : 'These'} are spans of another SDK, which have no phases: all their time is shown as service.`);
  if (session.forgotten) notes.push(`${count(session.forgotten)} older jobs and spans were deleted before, as the recording had become too large.`);
  return notes.length ? html`<p class="note">${notes.join(' ')}</p>` : null;
}
