import { render } from 'preact';
import { App } from './app.js';
import { unpack } from './data.js';
import { Live } from './live.js';
import { html } from './parts.js';
import { startTheme } from './theme.js';

startTheme();
const root = document.getElementById('page');
const packed = document.getElementById('data').textContent;
const show = (view) => { root.textContent = ''; render(view, root); };
if (packed) {
  unpack(packed).then(
    (data) => { show(html`<${App} data=${data} />`); performance.mark('first-view'); },
    (error) => { root.textContent = `This page's data can't be read: ${error.message}`; },
  );
} else {
  show(html`<${Live} />`);
}
