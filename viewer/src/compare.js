// Since when, what changed: two sessions or runs, A before B.
import { useEffect, useState } from 'preact/hooks';
import { Canvas, LEFT } from './canvas.js';
import { clock, count, line, plural, round, signed, ticks, time } from './format.js';
import { next } from './keys.js';
import { Dot, html, Name } from './parts.js';
import { json } from './server.js';
import { href } from './url.js';

const PERCENTILES = ['p50', 'p95', 'p99'];
const PLOT = 220;

export function Compare(context) {
  const { data, state, go, keys } = context;
  const { found, fault } = useComparison(context);
  const runner = found && chosen(found, state.runner);
  const names = found ? found.runners.map((each) => each.name) : [];
  const step = (by) => () => runner && go({ runner: next(names, runner.name, by) });
  keys({ view: 'compare', '[': step(-1), ']': step(1), Escape: () => go({ view: 'overview', id: '' }) });
  if (!found) return html`<section class="card"><h1 class="sentence">${fault || 'Comparing …'}</h1></section>`;
  if (!runner) return html`<section class="card"><${Parts} found=${found} state=${state} /><h1 class="sentence">There are no jobs in either.</h1></section>`;
  const both = runner.a && runner.b;
  return html`<${Runners} found=${found} runner=${runner} go=${go} />
    <section class="card"><${Parts} found=${found} state=${state} /><h1 class="sentence">${both ? line(runner.sentence) : alone(runner)}.</h1>
      ${both && html`<p class="soft" style=${{ marginTop: '6px' }}>${why(data, runner)}</p>`}</section>
    ${both && html`<div class="two"><${Phases} data=${data} runner=${runner} /><${Curves} runner=${runner} theme=${context.theme} /></div>`}
    <${ByRunner} found=${found} state=${state} />
    ${found.settings.length > 0 && html`<${Settings} found=${found} />`}`;
}

/** The comparison in the page, or that of its server. */
function useComparison({ data, state, live }) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    if (data.compare || !live) return undefined;
    let open = true;
    const told = (value) => { if (open) setAnswer({ of: state.id, ...value }); };
    json(`compare?name=${encodeURIComponent(`${state.id}/${state.session}`)}`).then((found) => told({ found }), (error) => told({ fault: error.message }));
    return () => { open = false; };
  }, [data, state.id, state.session]);
  if (data.compare) return { found: data.compare };
  if (!live) return { fault: 'Nothing is compared in this file.' };
  return answer.of === state.id ? answer : {};
}

/** The runner that is asked for; else that whose time changed most. */
function chosen(found, name) {
  const asked = found.runners.find((each) => each.name === name);
  if (asked) return asked;
  const change = (each) => (each.a && each.b ? Math.abs(each.b.duration - each.a.duration) : -1);
  return found.runners.reduce((most, each) => (most && change(most) >= change(each) ? most : each), null);
}

function Runners({ found, runner, go }) {
  if (found.runners.length < 2) return null;
  return html`<div class="strip" role="group" aria-label="Runner" tabindex="0"><span>runner</span>
    ${found.runners.map((each) => html`<button class="chip" aria-pressed=${each === runner} onClick=${() => go({ runner: each.name })}>
      <${Name} text=${each.name} /> <i>${count((each.b || each.a).jobs)}</i>${(each.b || each.a).failed ? html`<i class="bad">✕ ${count((each.b || each.a).failed)}</i>` : ''}</button>`)}</div>`;
}

/** Which two they are. */
function Parts({ found, state }) {
  const { a, b, settings } = found;
  const part = (name, each, colour) => html`<span class="tag"><i class="dot" style=${{ background: colour }}></i>${name} ${clock(each.zero_ms)} · ${time(each.duration)}</span>`;
  const swap = state.id && a.id !== b.id ? '' : 'the same recording · ';
  const program = a.command === b.command ? 'same program' : html`<bdi>${line(a.command)}</bdi> → <bdi>${line(b.command)}</bdi>`;
  return html`<div class="back">${part('A', a, 'var(--unit)')}${part('B', b, 'var(--accent)')}
    <span class="soft">${swap}${program} · ${settings.length ? `${plural(settings.length, 'setting')} ${settings.length === 1 ? 'differs' : 'differ'}` : 'no setting differs'}</span></div>`;
}

function alone(runner) {
  const side = runner.a || runner.b;
  return `${line(runner.name)} is in ${runner.a ? 'A' : 'B'} alone: ${plural(side.jobs, 'job')}, ${time(side.duration)}`;
}

/** What a job took longer or shorter, by its phases. */
function why(data, runner) {
  const { mean } = runner.changes;
  const phases = data.names.filter((name) => runner.changes[name].is_certain);
  const jobs = [runner.a.jobs, runner.b.jobs].map(count).join(' and ');
  const each = mean.is_certain ? `A job took ${time(mean.b)} on average, instead of ${time(mean.a)}` : `A job took ${time(mean.b)} on average, as in A`;
  const parts = phases.map((name) => `${name} ${signed(runner.changes[name].b - runner.changes[name].a)}`);
  const rest = phases.length ? `, of which ${parts.join(', ')}; the other phases differ by chance, or by less than 1 %` : mean.is_certain ? '; no phase alone differs by more than chance and 1 %' : '; no phase differs by more than chance and 1 %';
  return html`${each}${runner.why ? (phases.length ? `, of which ${parts.join(', ')}` : '') : rest} (${jobs} jobs). ${runner.why && html`<b>No intervals: ${runner.why}; it may be chance.</b>`}`;
}

/** B − A where that is certain; coloured where there is an interval. */
function Difference({ change, text }) {
  if (!change.is_certain) return html`<span class="soft">≈</span>`;
  const kind = change.interval ? (change.b > change.a ? 'bad' : 'good') : '';
  const title = change.interval ? `95 %: ${change.interval.map(signed).join(' … ')}` : '';
  return html`<b class=${kind} title=${title}>${text}</b>`;
}

function Phases({ data, runner }) {
  const rows = ['mean', ...data.names].map((name) => [name, runner.changes[name]]).filter(([, each]) => each.a || each.b);
  const reach = (each) => Math.max(each.a, each.b, each.is_certain && each.interval ? each.a + each.interval[1] : 0);
  const most = Math.max(1, ...rows.filter(([name]) => name !== 'mean').map(([, each]) => reach(each)));
  const width = (us) => `${Math.min(100, (100 * Math.max(0, us)) / most)}%`;
  const bars = (name, { a, b, interval, is_certain: certain }) => html`<div class="pair"><i style=${{ width: width(a), background: 'var(--unit)' }}></i><i style=${{ width: width(b), background: `var(--${name})` }}></i>
    ${certain && interval && html`<u style=${{ left: width(a + interval[0]), width: width(interval[1] - interval[0]) }}></u>`}</div>`;
  return html`<section class="card" aria-labelledby="phases-title"><h2 id="phases-title">By phase <small>mean a job${runner.why ? '' : '; the line is the 95 % interval of B'}</small></h2>
    <div class="scroll" tabindex="0" role="group" aria-label="By phase"><table class="plain" id="phases"><thead><tr><th class="left" scope="col">phase</th><th class="left" scope="col"><span class="sr">bars</span></th><th scope="col">A</th><th scope="col">B</th><th scope="col">B − A</th></tr></thead>
    <tbody>${rows.map(([name, each]) => html`<tr key=${name} data-name=${name} data-interval=${each.interval ? each.interval.join(' ') : ''}>
      <th class="left" scope="row">${name === 'mean' ? 'all of it' : html`<${Dot} phase=${name} />${name}`}</th><td class="left" style=${{ width: '46%', minWidth: '44px' }}>${name === 'mean' ? '' : bars(name, each)}</td>
      <td>${time(each.a)}</td><td>${time(each.b)}</td><td class="change"><${Difference} change=${each} text=${signed(each.b - each.a)} /></td></tr>`)}</tbody></table></div></section>`;
}

/** The share of the jobs that were done within a time. */
function Curves({ runner, theme }) {
  const [a, b] = runner.curves;
  const last = a.length - 1;
  const low = Math.log(Math.max(1, Math.min(a[0], b[0])));
  const high = Math.max(low + 0.1, Math.log(Math.max(1, a[last], b[last])));
  const draw = (pen, width, height, colours) => {
    const base = height - 22;
    const x = (us) => LEFT + ((Math.log(Math.max(1, us)) - low) / (high - low)) * (width - LEFT - 2);
    const y = (share) => base - share * (base - 10);
    pen.textAlign = 'right';
    for (const share of [0, 0.5, 0.95]) {
      pen.fillStyle = colours('line');
      pen.fillRect(LEFT, Math.round(y(share)), width - LEFT, 1);
      pen.fillStyle = colours('ink2');
      pen.fillText(`${share * 100}\u00a0%`, LEFT - 8, y(share) + 4);
    }
    axis(pen, low, high, x, height - 6, width);
    for (const [points, colour] of [[a, 'unit'], [b, 'accent']]) {
      pen.strokeStyle = colours(colour);
      pen.lineWidth = 2;
      pen.beginPath();
      points.forEach((us, place) => { if (place) pen.lineTo(x(us), y(place / last)); else pen.moveTo(x(us), y(0)); });
      pen.stroke();
    }
  };
  const rows = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1];
  return html`<section class="card" aria-labelledby="curves-title"><h2 id="curves-title">Share of jobs done within <small><i class="dot" style=${{ background: 'var(--unit)' }}></i>A <i class="dot" style=${{ background: 'var(--accent)', marginLeft: '8px' }}></i>B</small></h2>
    <div class="panel whole"><${Canvas} height=${PLOT} draw=${draw} deps=${[runner, theme]} label="The share of the jobs of A and of B that were done within a time. The table that follows has its numbers." /></div>
    <div class="sr"><table><caption>Time within which a share of the jobs was done</caption><thead><tr><th scope="col">share</th><th scope="col">A</th><th scope="col">B</th></tr></thead>
      <tbody>${rows.map((share) => html`<tr><th scope="row">${share * 100} %</th><td>${time(a[Math.round(share * last)])}</td><td>${time(b[Math.round(share * last)])}</td></tr>`)}</tbody></table></div></section>`;
}

/** Round times: 1, 2 or 5 of a power of ten, as many as there is room for. */
function axis(pen, low, high, x, y, width) {
  const found = [];
  for (let power = 0; power < 12; power++) for (const n of [1, 2, 5]) found.push(n * 10 ** power);
  let marks = found.filter((us) => Math.log(us) >= low && Math.log(us) <= high);
  if (marks.length < 2) marks = ticks(Math.exp(low), Math.exp(high), 4).filter((us) => us > 0);
  pen.textAlign = 'center';
  let free = 0;
  for (const us of marks) {
    const half = pen.measureText(round(us)).width / 2;
    const at = Math.min(width - half, x(us));
    if (at - half < free) continue;
    pen.fillText(round(us), at, y);
    free = at + half + 12;
  }
}

function ByRunner({ found, state }) {
  const percent = ({ a, b }) => (a ? `${b > a ? '+' : '−'}${Math.round((100 * Math.abs(b - a)) / a)}\u00a0%` : signed(b - a));
  return html`<section class="card" aria-labelledby="compared-title"><h2 id="compared-title">By runner</h2><div class="scroll" tabindex="0" role="group" aria-label="By runner"><table class="plain" id="compared">
    <thead><tr><th class="left" scope="col">runner</th>${PERCENTILES.map((p) => html`<th scope="col">${p} A</th><th scope="col">${p} B</th><th scope="col"><span class="sr">${p}</span> B − A</th>`)}</tr></thead>
    <tbody>${found.runners.map((each) => html`<tr key=${each.name} data-name=${each.name}><th class="left" scope="row"><a href=${href({ ...state, runner: each.name })}><${Name} text=${each.name} /></a></th>
      ${each.a && each.b ? PERCENTILES.map((p) => html`<td>${time(each.changes[p].a)}</td><td>${time(each.changes[p].b)}</td><td class="change"><${Difference} change=${each.changes[p]} text=${percent(each.changes[p])} /></td>`)
        : html`<td class="left" colspan="9">${alone(each)}</td>`}</tr>`)}</tbody></table></div></section>`;
}

function Settings({ found }) {
  return html`<section class="card" aria-labelledby="settings-title"><h2 id="settings-title">Settings that differ</h2><div class="scroll" tabindex="0" role="group" aria-label="Settings that differ"><table class="plain">
    <thead><tr><th class="left" scope="col">runner</th><th class="left" scope="col">setting</th><th class="left" scope="col">A</th><th class="left" scope="col">B</th></tr></thead>
    <tbody>${found.settings.map((each) => html`<tr><td class="left"><${Name} text=${each.runner} /></td><td class="left mono"><bdi>${line(each.name)}</bdi></td>
      ${each.values.map((value) => html`<td class="wide mono"><bdi>${line(value)}</bdi></td>`)}</tr>`)}</tbody></table></div></section>`;
}
