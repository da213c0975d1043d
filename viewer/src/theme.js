// Light or dark: as the system says, until it is chosen.
let listeners = [];

function stored() {
  try { return localStorage.getItem('spanrun-theme'); } catch { return null; }
}

export function startTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => { document.documentElement.dataset.theme = stored() || (dark.matches ? 'dark' : 'light'); };
  dark.addEventListener('change', () => { apply(); told(); });
  apply();
}

export function toggleTheme() {
  const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem('spanrun-theme', next); } catch { /* it lasts until the page is closed */ }
  told();
}

const told = () => listeners.forEach((each) => each());
export function onTheme(heard) {
  listeners.push(heard);
  return () => { listeners = listeners.filter((each) => each !== heard); };
}
