// Why is it slow: the sentence, its causes, and the evidence.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { durations, quantile, sums } from './data.js';
import { count, line, plural, share, three, time } from './format.js';
import { FEW, Latency } from './latency.js';
import { Objectives } from './objectives.js';
import { html, Ledger, Name, Track, WORDS } from './parts.js';
import { Stack } from './stack.js';
import { href } from './url.js';
import { Versus } from './versus.js';

export function Overview(context) {
  const { data, state, scope } = context;
  const [from, to] = state.t || [0, data.length];
  const [box, setBox] = useState(null);
  useEffect(() => setBox(null), [scope]);
  const total = useMemo(() => sums(data, scope), [scope]);
  const view = { ...context, from, to, onBox: setBox };
  if (!scope.length) return html`<section class="card"><h1 class="sentence">${nothing(data, state)}</h1></section><${Objectives} data=${data} />`;
  return html`<${Why} ...${view} total=${total} /><${Objectives} data=${data} /><${Stack} ...${view} /><${Latency} ...${view} />
    <div class="two"><${ByRunner} ...${context} />${scope.length >= FEW && html`<${Versus} data=${data} state=${state} scope=${scope} box=${box} />`}</div>`;
}

function nothing(data, state) {
  if (state.t) return 'No job was under way in this time.';
  const runs = data.runs.filter((run) => !state.runner || run.runner === state.runner);
  if (!runs.length) return 'This session has no runs yet.';
  const open = runs.some((run) => run.end === null);
  return `This run has no jobs yet${open ? ': it waits for the first to end' : ''}.`;
}

function Why({ data, state, scope, total, from, to }) {
  const given = state.t ? null : state.runner ? data.raw.causes.runners[state.runner] : data.raw.causes.all;
  return html`<section class="card split"><div><h1 class="sentence">${(scope.length > 1 && units(given?.sentence)) || plain(data, scope, total, state)}</h1>
    ${given?.causes?.length ? html`<ul class="causes">${given.causes.map((cause) => html`<${Cause} data=${data} scope=${scope} cause=${cause} state=${state} />`)}</ul>` : ''}</div>
    <${Figures} data=${data} scope=${scope} total=${total} from=${from} to=${to} state=${state} /></section>`;
}

/** A number and its unit stay on one line. */
const units = (text) => text && line(text).replace(/(\d) (?=(?:%|s|ms|µs|min|h)(?!\w))/g, '$1\u00a0');

/** What is selected, where nothing is known of its causes. */
function plain(data, scope, total, state) {
  if (scope.length === 1) {
    const row = scope[0];
    const most = data.names[data.most[row]];
    return `One job: it took ${time(data.duration[row])}, ${share(data.phases[data.most[row]][row], data.duration[row])} of it ${most}${data.outcome[row] ? `, and ${WORDS[data.outcomes[data.outcome[row]]]}` : ''}.`;
  }
  const parts = data.names.map((name, p) => [name, total.phases[p]]).filter(([, amount]) => amount >= total.all * 0.005 && amount > 0).sort((a, b) => b[1] - a[1]);
  const told = parts.map(([name, amount]) => `${name} ${share(amount, total.all)}`).join(', ');
  const what = state.t ? 'were under way' : `took ${time(total.all)} of job time`;
  return `${plural(scope.length, 'job')} ${what}${told ? `: ${told}` : ''}.`;
}

function Cause({ data, scope, cause, state }) {
  const phase = data.names.indexOf(cause.phase);
  const runner = cause.runner ? data.named.get(cause.runner) : -1;
  const mostly = useMemo(() => scope.filter((row) => data.most[row] === phase && (runner < 0 || data.of[row] === runner)).length, [scope, cause]);
  const jobs = { ...state, view: 'jobs', runner: cause.runner || state.runner, sort: cause.phase, dir: '' };
  return html`<li class="cause"><b>${share(cause.share, 1)}</b><${Track} part=${cause.share} phase=${cause.phase} />
    <div><span class="fact">${units(cause.fact)}</span></div>
    ${mostly ? html`<a href=${href({ ...jobs, phase: cause.phase })} title="whose time is mostly this">${plural(mostly, 'job')} mostly</a>`
      : html`<a href=${href(jobs)}>${plural(cause.jobs, 'job')}</a>`}
    ${cause.advice && html`<div class="advice">${units(cause.advice)} ${cause.improves && html`<span class="soft">p95 ${time(cause.p95 * 1e6)} ⇢ ${time(cause.p95_without * 1e6)} at best</span>`}</div>`}</li>`;
}

function Figures({ data, scope, total, from, to, state }) {
  const sorted = useMemo(() => durations(data, scope), [scope]);
  const whole = !state.t;
  const runners = data.runners.filter((each) => !state.runner || each.name === state.runner);
  const sum = (name) => runners.reduce((all, each) => all + each[name], 0);
  const jobs = whole ? sum('jobs') : scope.length;
  const bad = data.outcomes.map((name, place) => [WORDS[name] || name, place && scope.reduce((n, row) => n + (data.outcome[row] === place), 0)]).filter(([, n]) => n);
  const span = spanOf(data, scope, whole ? null : [from, to]);
  const exact = state.runner && whole && runners[0]?.percentiles;
  const p = (q, place) => time(exact ? runners[0].percentiles[place] : quantile(sorted, q));
  const full = state.runner && whole ? runners[0]?.limit_full ?? null : null;
  const facts = [['jobs', count(jobs)], ['time', time(span)],
    ['ok', count(whole ? sum('ok') : jobs - total.bad)],
    [bad.length ? bad.map(([name]) => name).join(' · ') : 'not ok', bad.length ? bad.map(([, n]) => count(n)).join(' · ') : '0'],
    ['rate', span ? `${three(jobs / (span / 1e6))}/s` : '–'], ['more attempts', count(whole ? sum('retries') : total.retries)]];
  if (scope.length >= FEW) facts.push(['p50', p(50, 0)], ['p95', p(95, 1)], ['p99', p(99, 2)]);
  facts.push(full === null ? ['max', time(sorted[sorted.length - 1])] : ['limit full', `${share(full, 1)} of the time`]);
  return html`<dl class="figures">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function spanOf(data, scope, range) {
  if (range) return range[1] - range[0];
  let from = Infinity, to = 0;
  for (const row of scope) { from = Math.min(from, data.start[row]); to = Math.max(to, data.end[row]); }
  return Math.max(0, to - from);
}

function ByRunner({ data, state }) {
  const most = Math.max(1, ...data.runners.map((each) => each.phases.reduce((a, b) => a + b, 0)));
  return html`<section class="card" aria-labelledby="runners-title"><h2 id="runners-title">By runner ${state.t ? html`<small>of the whole time</small>` : ''}</h2><div class="scroll" tabindex="0" role="group" aria-label="By runner">
    <table class="plain"><thead><tr><th class="left" scope="col">runner</th><th class="left" scope="col">where the time went</th><th scope="col">jobs</th><th scope="col">p50</th><th scope="col">p95</th><th scope="col">p99</th><th scope="col">limit full</th><th scope="col">not ok</th></tr></thead>
    <tbody>${data.runners.map((each) => html`<tr><td class="left"><a href=${href({ ...state, runner: each.name })}><${Name} text=${each.name} /></a></td>
      <td class="left" style=${{ minWidth: '140px', width: '40%' }}><${Ledger} parts=${[...data.order].reverse().map((p) => [data.names[p], each.phases[p]])} whole=${most * 1.02} /></td>
      <td>${count(each.jobs)}</td>${each.percentiles.map((value) => html`<td>${each.jobs >= FEW ? time(value) : '–'}</td>`)}
      <td>${each.limit_full === null ? '–' : each.limit_full > 0.5 ? html`<b>${share(each.limit_full, 1)}</b>` : share(each.limit_full, 1)}</td>
      <td>${each.bad ? html`<b class="bad">${count(each.bad)}</b>` : '0'}</td></tr>`)}</tbody></table></div></section>`;
}
