// Whether service level objectives are met, where a file of them was given.
import { count, line, share } from './format.js';
import { html } from './parts.js';

export function Objectives({ data }) {
  if (!data.objectives.length) return null;
  const broken = data.objectives.filter((each) => !each.met).length;
  return html`<section class="card" aria-labelledby="objectives-title"><h2 id="objectives-title">Objectives <small>${broken ? `${count(broken)} of ${count(data.objectives.length)} broken` : 'none is broken'}; of the whole time, all runners</small></h2>
    <div class="scroll" tabindex="0" role="group" aria-label="Objectives"><table class="plain" id="objectives"><thead><tr><th class="left" scope="col">objective</th><th class="left" scope="col">verdict</th><th scope="col">bad events</th><th scope="col">of</th><th scope="col">bad</th><th scope="col">may be</th><th scope="col">budget left</th></tr></thead>
    <tbody>${data.objectives.map((each) => html`<tr><th class="left" scope="row"><bdi>${line(each.name)}</bdi></th>
      ${each.total ? html`<td class="left">${each.met ? html`<span class="soft">✓</span> ok` : html`<b class="bad">✕ broken</b>`}</td><td>${count(each.bad)}</td><td>${count(each.total)}</td><td>${percent(each.ratio)}</td><td>${percent(each.budget)}</td>
        <td>${each.remaining < 0 ? html`<b class="bad">−${share(-each.remaining, 1)}</b>` : share(each.remaining, 1)}</td>`
        : html`<td class="left soft" colspan="6">no events</td>`}</tr>`)}</tbody></table></div></section>`;
}

/** A small share: budgets have parts of a percent. */
const percent = (part) => `${Number((100 * part).toPrecision(3))}\u00a0%`;
