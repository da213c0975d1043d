// The hash is the only state: back, reload and a copied link work.
const NUMBERS = ['attempts', 'min', 'max', 'least'];
const TEXTS = ['runner', 'outcome', 'phase', 'q', 'sort', 'dir', 'span', 'job', 'fold', 'find', 'level', 'log'];
export const FILTERS = ['outcome', 'phase', 'attempts', 'min', 'max', 'q'];

export function read(hash) {
  const [path, query = ''] = hash.replace(/^#/, '').split('?');
  const [, kind, first = '', second, third = ''] = path.split('/').map(plain);
  const given = new URLSearchParams(query);
  const state = kind === 'compare' ? { session: second || '', view: 'compare', id: first } : { session: first, view: second || 'overview', id: third };
  for (const name of TEXTS) if (given.get(name)) state[name] = given.get(name);
  for (const name of NUMBERS) {
    const value = Number(given.get(name));
    if (given.get(name) && Number.isFinite(value)) state[name] = value;
  }
  const range = (given.get('t') || '').split('-').map(Number);
  if (range.length === 2 && range.every(Number.isFinite) && range[1] > range[0]) state.t = range;
  return state;
}

function plain(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

export function href(state) {
  const query = new URLSearchParams();
  for (const name of ['runner', 't', ...FILTERS, 'sort', 'dir', 'job', 'span', 'fold', 'find', 'least', 'level', 'log']) {
    const value = state[name];
    if (value !== undefined && value !== '' && value !== null) query.set(name, name === 't' ? value.map(Math.round).join('-') : value);
  }
  const told = query.toString();
  if (state.view === 'compare') return `#/compare/${encodeURIComponent(state.id)}/${encodeURIComponent(state.session)}${state.runner ? `?${new URLSearchParams({ runner: state.runner })}` : ''}`;
  const id = state.id ? `/${encodeURIComponent(state.id)}` : '';
  return `#/s/${encodeURIComponent(state.session)}/${state.view}${id}${told ? `?${told}` : ''}`;
}
