// From a server: the list of sessions, and the data of one, as it changes.
import { useEffect, useState } from 'preact/hooks';
import { App } from './app.js';
import { prepare } from './data.js';
import { clock, line, offset, time } from './format.js';
import { html, Name } from './parts.js';
import { read } from './url.js';

const asked = () => (location.hash === '#/' ? '' : read(location.hash).session || 'last');

export function Live() {
  const [name, setName] = useState(asked());
  useEffect(() => {
    const heard = () => setName(asked());
    addEventListener('hashchange', heard);
    return () => removeEventListener('hashchange', heard);
  }, []);
  return name ? html`<${Session} key=${name} name=${name} />` : html`<${Sessions} />`;
}

async function json(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

/** What is shown never moves by itself in a table: what is newer waits until asked. */
function Session({ name }) {
  const [data, setData] = useState(null);
  const [newer, setNewer] = useState(null);
  const [fault, setFault] = useState('');
  useEffect(() => {
    let open = true;
    let busy = false;
    let again = false;
    const load = async () => {
      if (busy) { again = true; return; }
      busy = true;
      try {
        const found = prepare(await json(`data?name=${encodeURIComponent(name)}`));
        if (!open) return;
        setFault('');
        setNewer(found);
        setData((before) => before ?? found);
      } catch (error) {
        if (open) setFault(error.message);
      } finally {
        busy = false;
        if (again && open) { again = false; load(); }
      }
    };
    const stream = new EventSource(`changes?name=${encodeURIComponent(name)}`);
    stream.onmessage = load;
    stream.onerror = () => setFault('the connection is lost');
    load();
    return () => { open = false; stream.close(); };
  }, [name]);
  useEffect(() => {
    if (newer && newer !== data && !still()) setData(newer);
  });
  if (!data) return html`<p class="note" role="status">${fault || 'Reading the recording …'}</p>`;
  const more = newer ? newer.counts.jobs - data.counts.jobs : 0;
  return html`<${App} data=${data} live=${{ fault, more, show: () => setData(newer) }} />`;
}

/** Whether the view has rows that must not move. */
const still = () => ['jobs', 'trace'].includes(read(location.hash).view);

function Sessions() {
  const [found, setFound] = useState(null);
  const [fault, setFault] = useState('');
  useEffect(() => { json('sessions').then(setFound, (error) => setFault(error.message)); }, []);
  useEffect(() => { document.title = 'spanrun · sessions'; document.body.dataset.ready = '1'; }, []);
  return html`<header><div class="bar"><b>spanrun</b><span class="about">recordings on this machine</span></div></header>
    <main id="main"><h1>${fault || (found ? `${found.length} session${found.length === 1 ? '' : 's'}` : 'Reading …')}</h1>
    ${found && html`<section class="card"><table><thead><tr><th>began</th><th>took</th><th>program</th><th>runners</th></tr></thead>
      <tbody>${found.map((each) => html`<tr>
        <td>${clock(each.started_ms)} ${offset(each.started_ms)}</td>
        <td>${time((each.written_ms - each.started_ms) * 1000)}</td>
        <td><a href=${`#/s/${encodeURIComponent(each.id)}/overview`}><bdi>${line(each.command)}</bdi></a></td>
        <td>${each.runners.slice(0, 6).map((name, place) => html`${place ? ' · ' : ''}<${Name} text=${name} />`)}${each.runners.length > 6 ? ' …' : ''}</td>
      </tr>`)}</tbody></table></section>`}</main>`;
}
