// All sessions of a store: to open one, or to compare two.
import { useEffect, useRef, useState } from 'preact/hooks';
import { clock, line, offset, time } from './format.js';
import { html, Name } from './parts.js';
import { json } from './server.js';
import { toggleTheme } from './theme.js';
import { href } from './url.js';

const NAMES = 6;

export function Sessions() {
  const [found, setFound] = useState(null);
  const [fault, setFault] = useState('');
  const [chosen, setChosen] = useState([]);
  const [at, setAt] = useState(0);
  useEffect(() => { json('sessions').then(setFound, (error) => setFault(error.message)); }, []);
  useEffect(() => { document.title = 'spanrun · sessions'; document.body.dataset.ready = '1'; }, []);
  const toggle = (id) => setChosen((ids) => (ids.includes(id) ? ids.filter((each) => each !== id) : [...ids, id].slice(-2)));
  const pair = pairOf(found || [], chosen, at);
  const handlers = useRef({});
  const select = (place) => {
    const next = Math.max(0, Math.min((found || []).length - 1, place));
    setAt(next);
    document.getElementById(`session-${next}`)?.focus();
  };
  handlers.current = {
    j: () => select(at + 1), ArrowDown: () => select(at + 1), k: () => select(at - 1), ArrowUp: () => select(at - 1), t: toggleTheme,
    Enter: () => { if (found?.[at]) location.hash = `#/s/${encodeURIComponent(found[at].id)}/overview`; },
    x: () => { if (found?.[at]) toggle(found[at].id); },
    4: () => { if (pair) location.hash = pair; },
  };
  useEffect(() => {
    const heard = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || (event.key === 'Enter' && event.target.closest?.('a, button'))) return;
      if (handlers.current[event.key]) { event.preventDefault(); handlers.current[event.key](); }
    };
    addEventListener('keydown', heard);
    return () => removeEventListener('keydown', heard);
  }, []);
  return html`<header><div class="bar"><b>spanrun</b><span class="about">recordings on this machine</span>
      <span class="hint"><kbd>j</kbd> <kbd>k</kbd> row · <kbd>Enter</kbd> open · <kbd>x</kbd> choose · <kbd>4</kbd> compare</span></div></header>
    <main id="main"><h1 class="sentence">${fault || (found ? `${found.length} session${found.length === 1 ? '' : 's'}` : 'Reading …')}</h1>
    ${found?.length > 0 && html`<section class="card" aria-label="Sessions"><div class="scroll" tabindex="0" role="group" aria-label="All sessions"><table class="plain"><thead><tr><th class="left" scope="col"><span class="sr">to compare</span></th>
      <th class="left" scope="col">began</th><th scope="col">took</th><th class="left" scope="col">program</th><th class="left" scope="col">runners</th></tr></thead>
      <tbody>${found.map((each, place) => html`<tr key=${each.id} aria-selected=${place === at}>
        <td class="left"><input type="checkbox" checked=${chosen.includes(each.id)} onChange=${() => toggle(each.id)} aria-label=${`Compare ${line(each.command)}, ${clock(each.started_ms)}`} /></td>
        <td class="left">${clock(each.started_ms)} ${offset(each.started_ms)}</td>
        <td>${time((each.written_ms - each.started_ms) * 1000)}</td>
        <td class="left wide"><a id=${`session-${place}`} onFocus=${() => setAt(place)} href=${`#/s/${encodeURIComponent(each.id)}/overview`}><bdi>${line(each.command) || each.id}</bdi></a></td>
        <td class="left">${each.runners.slice(0, NAMES).map((name, n) => html`${n ? ' · ' : ''}<${Name} text=${name} />`)}${each.runners.length > NAMES ? ' …' : ''}</td>
      </tr>`)}</tbody></table></div>
      ${found.length > 1 && html`<p class="note">${chosen.length === 2 ? html`<a class="chip" href=${pair}>Compare the two</a>` : 'Choose two sessions to compare them.'}</p>`}</section>`}</main>`;
}

/** The link that compares the two that are chosen, or this one with the one before it. */
function pairOf(found, chosen, at) {
  const places = chosen.length === 2 ? chosen.map((id) => found.findIndex((each) => each.id === id)) : [at, at + 1];
  const [b, a] = places.sort((x, y) => x - y).map((place) => found[place]); // the newest comes first
  return a && b ? href({ view: 'compare', id: a.id, session: b.id }) : '';
}
