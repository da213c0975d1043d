// What happened to it: the ledger over the spans of a job or of a trace.
import { useMemo } from 'preact/hooks';
import { keyOf, rowNamed, treeOf } from './data.js';
import { line, plural, share, time } from './format.js';
import { ledgerOf } from './ledger.js';
import { Amounts, html, Ledger, Outcome } from './parts.js';
import { href } from './url.js';
import { Waterfall } from './waterfall.js';

const SAID = {
  queue: 'waiting for the event loop', limit: 'waiting for a slot', rate_limit: 'waiting for the rate limit', backoff: 'waiting to try again',
  busy: 'computing', loop_lag: 'held up by a blocked event loop', service: 'waiting for the answer',
};

export function Trace(context) {
  const { data, state } = context;
  const job = rowNamed(data, state.id);
  const text = data.text.indexOf(state.id);
  const root = job === undefined || data.spansOf[job] < 0 ? undefined : data.spansOf[job];
  const tree = useMemo(() => (job !== undefined && root === undefined ? [] : treeOf(data, root, text)), [data, root, text]);
  if (job === undefined && !tree.length) {
    return html`<section class="card"><h1 class="sentence">This trace is not in the recording.</h1><p class="note"><a href=${href({ ...state, view: 'jobs', id: '' })}>← jobs</a></p></section>`;
  }
  return html`<${Title} ...${context} job=${job} tree=${tree} /><${Verdict} data=${data} job=${job} />
    ${tree.length ? html`<${Waterfall} ...${context} job=${job} tree=${tree} />` : html`<${Unkept} data=${data} job=${job} />`}`;
}

function Title({ data, state, job, tree }) {
  const back = html`<a href=${href({ ...state, view: 'jobs', id: '', span: '', find: '', least: '' })}>← jobs</a>`;
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
