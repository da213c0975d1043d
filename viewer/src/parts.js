// Small parts that several views are made of.
import { h } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import htm from 'htm';
import { line, share, time } from './format.js';

export const html = htm.bind(h);

export const colour = (phase) => `var(--${phase})`;
const MARKS = { ok: '✓', failed: '✕', timed_out: '◷', cancelled: '■' };
export const WORDS = { ok: 'ok', failed: 'failed', timed_out: 'timed out', cancelled: 'cancelled' };

/** A name that somebody else has chosen. */
export const Name = ({ text }) => html`<bdi>${line(text)}</bdi>`;

export const Outcome = ({ name }) => name === 'ok'
  ? html`<span><span class="soft">✓</span> ok</span>`
  : html`<b class="bad">${MARKS[name]} ${WORDS[name]}</b>`;

/** Of log records: each with OTLP's lowest number of it, the gravest first. */
export const LEVELS = [['error', 17], ['warn', 13], ['info', 9], ['debug', 1], ['other', 0]];
export const levelOf = (number) => LEVELS.find(([, least]) => number >= least)[0];

export const Level = ({ number }) => {
  const name = levelOf(number);
  return name === 'error' ? html`<b class="bad">✕ error</b>` : name === 'warn' ? html`<b>▲ warn</b>` : html`<span class="soft">${name === 'other' ? '' : name}</span>`;
};

export const Dot = ({ phase }) => html`<i class="dot" style=${{ background: colour(phase) }}></i>`;

/**
 * A job's time by phase; `parts` are [phase, amount], and `whole` is the full width.
 * Where that isn't to one scale, `width` gives the part of it from one amount to another.
 */
export function Ledger({ parts, whole, names = false, width = (a, b) => (b - a) / whole }) {
  const told = parts.filter(([, amount]) => amount > 0);
  const title = told.map(([phase, amount]) => `${phase} ${time(amount)}`).join(' · ');
  let sum = 0;
  return html`<div class="ledger" title=${title}>${told.map(([phase, amount]) => {
    const part = width(sum, sum += amount);
    return html`<i data-phase=${phase} data-amount=${amount} style=${{ width: `${100 * part}%`, background: colour(phase), color: `var(--on-${phase})` }}
      >${names && part > 0.09 ? phase : ''}</i>`;
  })}</div>`;
}

export const Track = ({ part, phase }) => html`<div class="track"><i
  style=${{ width: `${Math.min(100, 100 * part)}%`, background: colour(phase) }}></i></div>`;

/** Amount and share of each phase, with a bar. */
export function Amounts({ names, amounts, all }) {
  const most = Math.max(1, ...amounts);
  return html`<div class="amounts">${names.map((phase, place) => html`
    <span><${Dot} phase=${phase} />${phase}</span>
    <span class="track" style=${{ background: 'none' }}><i style=${{ width: `${(100 * amounts[place]) / most}%`, background: colour(phase) }}></i></span>
    <span>${time(amounts[place])}</span><span>${share(amounts[place], all)}</span>`)}</div>`;
}

/** The width of an element, now and when it changes. */
export function useWidth() {
  const ref = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([entry]) => setWidth(Math.round(entry.contentRect.width)));
    setWidth(Math.round(ref.current.getBoundingClientRect().width));
    seen.observe(ref.current);
    return () => seen.disconnect();
  }, []);
  return [ref, width];
}

/** Rows of one height, of which only those in sight are in the page. */
export function Rows({ count, size, room, row, selected, label, columns, head, headSize = 0, role = 'grid' }) {
  const ref = useRef(null);
  const [top, setTop] = useState(0);
  const height = Math.min(room, count * size);
  useEffect(() => {
    if (selected < 0 || !ref.current) return;
    const box = ref.current;
    if (selected * size < box.scrollTop) box.scrollTop = selected * size;
    else if ((selected + 1) * size > box.scrollTop + height) box.scrollTop = (selected + 1) * size - height;
  }, [selected, size, count, height]);
  const first = Math.max(0, Math.floor(Math.min(top, count * size - height) / size) - 6);
  const last = Math.min(count, first + Math.min(80, Math.ceil(height / size) + 12));
  const shown = [];
  for (let place = first; place < last; place++) shown.push(row(place, place * size));
  return html`<div class="window" ref=${ref} role=${role} tabindex="0" aria-label=${label}
    aria-rowcount=${count + (head ? 1 : 0)} aria-colcount=${columns}
    aria-activedescendant=${selected >= first && selected < last ? `row-${selected}` : undefined}
    style=${{ height: `${height + headSize}px` }} onScroll=${(e) => setTop(e.currentTarget.scrollTop)}>
    ${head}<div class="tall" role="rowgroup" style=${{ height: `${count * size}px` }}>${shown}</div></div>`;
}

export function useNarrow() {
  const query = '(max-width: 760px)';
  const [narrow, setNarrow] = useState(matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const heard = () => setNarrow(media.matches);
    media.addEventListener('change', heard);
    return () => media.removeEventListener('change', heard);
  }, []);
  return narrow;
}
