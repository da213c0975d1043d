// A span: its label, its glyphs, and all that is known of it.
import { attributesOf } from './data.js';
import { inert, line, signed, time } from './format.js';
import { Amounts, html, Level } from './parts.js';
import { href } from './url.js';

const GLYPHS = [['.retry', '↻'], ['.hedge', '⇉'], ['.blocked', '■'], ['exception', '✕']];
const parsed = (data, place) => (place ? JSON.parse(data.text[place]) : null);

export function labelOf(data, row, attempts) {
  const name = data.text[data.spans.name[row]];
  if (name.startsWith('attempt ')) {
    const number = parsed(data, data.spans.attributes[row])?.['spanrun.attempt.number'];
    if (number) return `attempt ${number} of ${Math.max(attempts.get(data.spans.parent[row]) || 0, number)}`;
  }
  return line(name);
}

export function glyphs(data, row) {
  const events = parsed(data, data.spans.events[row]) || [];
  return events.slice(0, 40).flatMap(([at, name]) => GLYPHS.filter(([end]) => name.endsWith(end)).map(([, glyph]) => [at, glyph]));
}

const told = (value) => inert(typeof value === 'string' ? value : JSON.stringify(value));

export const Facts = ({ of }) => html`<dl class="facts">${Object.entries(of).map(([name, value]) => html`<dt class="mono">${line(name)}</dt><dd class="mono"><bdi>${told(value)}</bdi></dd>`)}</dl>`;

export function Drawer({ data, state, row, from, job, attempts }) {
  const { start, duration, status, message, parent, events, links, scope, name } = data.spans;
  const its = attributesOf(data, row);
  const happened = parsed(data, events[row]) || [];
  const linked = parsed(data, links[row]) || [];
  const written = data.logsOf.get(row) || [];
  const up = parent[row];
  return html`<aside class="card drawer" aria-label="Span"><h2><bdi>${labelOf(data, row, attempts)}</bdi></h2>
    <dl class="facts"><dt>starts at</dt><dd>${time(start[row] - from)} in the ${job === undefined ? 'trace' : 'job'}</dd><dt>took</dt><dd>${time(duration[row])}</dd>
      ${up >= 0 && html`<dt>parent</dt><dd><bdi>${line(data.text[name[up]])}</bdi></dd>`}
      ${status[row] === 2 && html`<dt>status</dt><dd class="bad">error ${message[row] ? html`<bdi>${line(data.text[message[row]])}</bdi>` : ''}</dd>`}
      ${scope[row] ? html`<dt>library</dt><dd><bdi>${line(data.text[scope[row]])}</bdi></dd>` : ''}</dl>
    ${job !== undefined && html`<h3>Ledger of the job</h3><${Amounts} names=${data.names} amounts=${data.phases.map((column) => column[job])} all=${data.duration[job]} />`}
    ${happened.length > 0 && html`<h3>Events</h3>${happened.map(([at, title, more]) => html`<${Event} at=${at - from} title=${title} more=${more} />`)}`}
    ${written.length > 0 && html`<h3>Logs</h3>${written.map((each) => html`<${Record} data=${data} row=${each} from=${from} />`)}`}
    ${Object.keys(its).length > 0 && html`<h3>Attributes</h3><${Facts} of=${its} />`}
    ${linked.length > 0 && html`<h3>Links</h3>${linked.map(([trace, span, more, target]) => html`<div>${target >= 0
      ? html`<a href=${href({ ...state, id: trace, span: String(target), fold: '', find: '', least: '' })}><bdi>${line(data.text[name[target]])}</bdi> <code>${trace.slice(0, 8)}</code></a>`
      : html`<code>${trace} ${span}</code> <span class="soft">not in this page</span>`}</div><${Facts} of=${more} />`)}`}</aside>`;
}

function Record({ data, row, from }) {
  const { time: at, level, text, attributes } = data.logs;
  return html`<div><span class="soft">${signed(at[row] - from)}</span> <${Level} number=${level[row]} /></div><pre tabindex="0">${inert(data.text[text[row]])}</pre>
    ${attributes[row] ? html`<${Facts} of=${parsed(data, attributes[row])} />` : ''}`;
}

function Event({ at, title, more }) {
  const { 'exception.type': type, 'exception.message': message, 'exception.stacktrace': stack, ...rest } = more;
  return html`<div><span class="soft">+${time(at)}</span> <code>${line(title)}</code></div>
    ${type !== undefined && html`<pre tabindex="0">${told(type)}: ${told(message ?? '')}</pre>`}
    ${stack && html`<details><summary>stack</summary><pre tabindex="0">${told(stack)}</pre></details>`}
    ${Object.keys(rest).length > 0 && html`<${Facts} of=${rest} />`}`;
}
