// Every key, and what it does.
import { toggleTheme } from './theme.js';
import { FILTERS } from './url.js';

export const KEYS = [
  [['1', '2', '3', '4'], 'overview, jobs, failures, compare'], [['5', '6'], 'metrics, logs'], [['g'], 'sessions'], [['/'], 'search, here and in a trace'], [['?'], 'these keys'],
  [['[', ']'], 'runner before, after'], [['j', 'k', '↓', '↑'], 'row after, before'], [['Enter'], 'open'],
  [['Esc'], 'back, or clear the filters'], [['o', 'p', 'a'], 'next outcome, phase; more attempts'],
  [['s'], 'sort by the next column'], [['+', '-', '←', '→', '0'], 'time: closer, wider, move, all'],
  [['h', 'l'], 'fold, unfold'], [['e', 'E'], 'error after, before'], [['c'], 'critical path'],
  [['y'], 'copy the link'], [['t'], 'light or dark'],
];

const VIEWS = { 1: 'overview', 2: 'jobs', 3: 'failures', 5: 'metrics', 6: 'logs' };

export function keyPressed(event, app) {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector('dialog[open]')) return;
  const field = event.target.closest?.('input, textarea, select');
  if (field) {
    if (event.key === 'Escape') field.blur();
    return;
  }
  if (event.key === 'Enter' && event.target.closest?.('a, button')) return;
  const act = action(event.key, app);
  if (act) { event.preventDefault(); act(); }
}

function action(key, app) {
  const { state, go, data, view = {}, help, live, before } = app;
  if (view.view === state.view && view[key]) return view[key];
  if (VIEWS[key]) return () => go({ view: VIEWS[key], id: '', span: '' });
  switch (key) {
    case '4': return before ? () => go({ view: 'compare', id: state.view === 'compare' ? state.id : before, span: '' }) : null;
    case 'g': return live ? () => { location.hash = '#/'; } : null;
    case '?': return help;
    case 't': return toggleTheme;
    case 'y': return () => navigator.clipboard?.writeText(location.href).catch(() => {});
    case '/': return () => {
      if (state.view !== 'jobs') go({ view: 'jobs', id: '' });
      setTimeout(() => document.getElementById('search')?.focus(), 30);
    };
    case '[': case ']': return ['trace', 'metrics', 'logs'].includes(state.view) ? null : () => go({ runner: next(['', ...data.runners.map((each) => each.name)], state.runner || '', key === ']' ? 1 : -1) });
    case '+': case '-': case '0': case 'ArrowLeft': case 'ArrowRight': return ['trace', 'compare', 'metrics'].includes(state.view) ? null : () => go({ t: moved(data, state.t, key) });
    case 'Escape': return escape(state, go);
    default: return null;
  }
}

function escape(state, go) {
  if (FILTERS.some((name) => state[name]) && state.view === 'jobs') return () => go(Object.fromEntries(FILTERS.map((name) => [name, ''])));
  if (state.t) return () => go({ t: null });
  if (state.runner) return () => go({ runner: '' });
  return null;
}

export function next(values, value, step) {
  const place = values.indexOf(value);
  return values[(place + step + values.length) % values.length];
}

function moved(data, range, key) {
  if (key === '0') return null;
  const [from, to] = range || [0, data.length];
  const width = to - from;
  const [low, high] = {
    '+': [from + width / 4, to - width / 4], '-': [from - width / 2, to + width / 2],
    ArrowLeft: [from - width / 4, to - width / 4], ArrowRight: [from + width / 4, to + width / 4],
  }[key];
  const size = Math.min(data.length, high - low);
  const start = Math.round(Math.max(0, Math.min(low, data.length - size)));
  const end = Math.round(start + size);
  if (start <= 0 && end >= data.length) return null;
  return end > start ? [start, end] : range;
}
