import { render } from 'preact';
import { App } from './app.js';
import { unpack } from './data.js';
import { html } from './parts.js';
import { startTheme } from './theme.js';

startTheme();
const root = document.getElementById('page');
unpack(document.getElementById('data').textContent).then(
  (data) => { root.textContent = ''; render(html`<${App} data=${data} />`, root); performance.mark('first-view'); document.body.dataset.ready = '1'; },
  (error) => { root.textContent = `This page's data can't be read: ${error.message}`; },
);
