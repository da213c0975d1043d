// What breaks: failed jobs by their error, and what a retry made good.
import { useMemo } from 'preact/hooks';
import { Canvas } from './canvas.js';
import { nameOf } from './data.js';
import { count, line, plural, time } from './format.js';
import { html, Name } from './parts.js';
import { href } from './url.js';

export function Failures({ data, state, scope, theme }) {
  const found = useMemo(() => groups(data, scope), [scope]);
  const good = useMemo(() => madeGood(data, scope), [scope]);
  const bad = found.reduce((sum, each) => sum + each.rows.length, 0);
  const errors = good.reduce((sum, each) => sum + each.errors, 0);
  return html`<section class="card"><h1 class="sentence">${sentence(scope.length, bad, found.length, errors)}</h1></section>
    ${bad > 0 && html`<section class="card" aria-labelledby="bad-title"><h2 id="bad-title">Not ok <small>one line a fingerprint: runner, type, message without numbers</small></h2>
      <${Table} data=${data} state=${state} theme=${theme} groups=${found} bad=${true} /></section>`}
    ${good.length > 0 && html`<section class="card" aria-labelledby="good-title"><h2 id="good-title">Made good by a retry <small>ok in the end, at this price</small></h2>
      <${Table} data=${data} state=${state} theme=${theme} groups=${good} /></section>`}`;
}

function sentence(all, bad, reasons, errors) {
  if (!all) return 'There are no jobs here, so nothing failed.';
  const more = errors ? ` ${plural(errors, bad ? 'more error' : 'error')} ${errors === 1 ? 'was' : 'were'} made good by a retry.` : '';
  if (!bad) return `Nothing failed.${more}`;
  return `${count(bad)} of ${plural(all, 'job')} ${bad === 1 ? 'is' : 'are'} not ok, for ${plural(reasons, 'reason')}.${more}`;
}

/** Without what differs from one error to the next: numbers, and what is quoted. */
export const masked = (text) => text.slice(0, 2000).replace(/'[^']*'|"[^"]*"/g, "'…'").replace(/\d+(\.\d+)?/g, '#');

function groups(data, scope) {
  const found = new Map();
  for (const row of scope) {
    if (data.outcome[row] === 0) continue;
    const type = data.text[data.errorType[row]] || data.outcomes[data.outcome[row]];
    const message = data.text[data.error[row]];
    const print = `${data.of[row]}\0${type}\0${masked(message)}`;
    if (!found.has(print)) found.set(print, { row, type, message, shown: masked(message), rows: [], attempts: 0, lost: 0, at: [] });
    const group = found.get(print);
    group.rows.push(row);
    group.attempts = Math.max(group.attempts, data.attempts[row]);
    group.lost += data.duration[row];
    group.at.push(data.end[row]);
  }
  // One error is shown as it is.
  for (const group of found.values()) if (group.rows.length === 1) group.shown = group.message;
  return [...found.values()].sort((a, b) => b.rows.length - a.rows.length || a.row - b.row);
}

/** Jobs that were ok after more than one attempt, by the type of the error. */
function madeGood(data, scope) {
  const found = new Map();
  for (const row of scope) {
    if (data.outcome[row] !== 0 || data.attempts[row] < 2) continue;
    const type = typeOf(data, row);
    const print = `${data.of[row]}\0${type}`;
    if (!found.has(print)) found.set(print, { row, type, shown: '', rows: [], errors: 0, lost: 0, at: [] });
    const group = found.get(print);
    group.rows.push(row);
    group.errors += data.attempts[row] - 1;
    group.lost += data.phases[data.names.indexOf('backoff')][row];
    group.at.push(data.end[row]);
  }
  return [...found.values()].sort((a, b) => b.errors - a.errors || a.row - b.row);
}

/** The error of a job's first failed attempt, where its spans were kept. */
function typeOf(data, row) {
  const span = data.spansOf[row];
  if (span < 0 || !data.spans.events[span]) return 'retried';
  const events = JSON.parse(data.text[data.spans.events[span]]);
  const retry = events.find(([, name]) => name.endsWith('.retry'));
  return retry?.[2]?.['error.type'] || 'retried';
}

function Table({ data, state, theme, groups: found, bad }) {
  return html`<div class="scroll" tabindex="0" role="group" aria-label=${bad ? 'Not ok' : 'Made good'}><table class="plain"><thead><tr>
    <th scope="col">${bad ? 'jobs' : 'errors'}</th><th class="left" scope="col">runner</th><th class="left" scope="col">error</th>
    <th class="left" scope="col">when (0 to ${time(data.length)})</th><th scope="col">${bad ? 'att.' : 'jobs'}</th><th scope="col">${bad ? 'job time lost' : 'backoff'}</th><th class="left" scope="col">example</th></tr></thead>
    <tbody>${found.slice(0, 200).map((group) => html`<tr key=${group.row}><td class="n">${count(bad ? group.rows.length : group.errors)}</td>
      <td class="left"><${Name} text=${data.runs[data.run[group.row]].runner} /></td>
      <td class="wide" style=${{ minWidth: '200px', width: '40%' }}><b class=${bad ? 'bad' : ''}>${line(group.type.split('.').pop())}</b>${group.shown && html`<div class="mono clamp"><bdi>${line(group.shown)}</bdi></div>`}</td>
      <td class="left" style=${{ minWidth: '140px', width: '28%' }}><${Ticks} at=${group.at} length=${data.length} bad=${bad} theme=${theme} /></td>
      <td>${count(bad ? group.attempts : group.rows.length)}</td><td>${time(group.lost)}</td>
      <td class="left mono"><a href=${href({ ...state, view: 'trace', id: nameOf(data, group.row), job: nameOf(data, group.row) })}>${data.trace[group.row] ? data.text[data.trace[group.row]].slice(0, 8) : `#${data.index[group.row]}`}</a></td></tr>`)}</tbody></table>
      ${found.length > 200 ? html`<p class="note">${count(found.length - 200)} more kinds of error are not shown.</p>` : ''}</div>`;
}

function Ticks({ at, length, bad, theme }) {
  const draw = (pen, width, height, colours) => {
    pen.fillStyle = colours('edge');
    pen.fillRect(0, height - 1, width, 1);
    pen.fillStyle = colours(bad ? 'bad' : 'backoff');
    for (const each of at) pen.fillRect(Math.min(width - 2, (each / length) * width), 3, 2, height - 6);
  };
  return html`<${Canvas} height=${22} draw=${draw} deps=${[at, theme]} label=${`${at.length} at ${at.slice(0, 5).map(time).join(', ')}${at.length > 5 ? ' …' : ''}`} />`;
}
