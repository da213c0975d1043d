// From a server: the list of sessions, and the data of one, as it changes.
import { useEffect, useState } from 'preact/hooks';
import { App } from './app.js';
import { prepare } from './data.js';
import { html } from './parts.js';
import { json } from './server.js';
import { Sessions } from './sessions.js';
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
const still = () => ['jobs', 'trace', 'compare'].includes(read(location.hash).view);
