// Canvases that fit their element, in the colours of the theme.
import { useEffect, useRef, useState } from 'preact/hooks';
import { round, ticks } from './format.js';
import { html, useWidth } from './parts.js';

export const LEFT = 52;
export const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, Inter, sans-serif';

export function palette() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/** A canvas that `draw` fills; a drag over it gives `onRange` two parts of its width. */
export function Canvas({ height, draw, label, onRange, onHover, deps, right = 0 }) {
  const [box, width] = useWidth();
  const canvas = useRef(null);
  const [drag, setDrag] = useState(null);
  useEffect(() => {
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    const element = canvas.current;
    element.width = width * ratio;
    element.height = height * ratio;
    const pen = element.getContext('2d');
    pen.scale(ratio, ratio);
    pen.font = FONT;
    draw(pen, width, height, palette());
  }, [width, height, ...deps]);
  const place = (event) => {
    const rect = canvas.current.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - rect.left - LEFT) / Math.max(1, rect.width - LEFT - right)));
  };
  const done = (event) => {
    if (drag && onRange && Math.abs(place(event) - drag[0]) * width > 4) {
      onRange(...[drag[0], place(event)].sort((a, b) => a - b));
    }
    setDrag(null);
  };
  const plot = Math.max(0, width - LEFT - right);
  return html`<div ref=${box} style=${{ position: 'relative' }}><canvas ref=${canvas} role="img" aria-label=${label}
    style=${{ height: `${height}px`, cursor: onRange ? 'crosshair' : 'default' }}
    onPointerDown=${(e) => { if (onRange && e.button === 0) { e.currentTarget.setPointerCapture(e.pointerId); setDrag([place(e), place(e)]); } }}
    onPointerMove=${(e) => { if (drag) setDrag([drag[0], place(e)]); onHover?.(place(e)); }}
    onPointerUp=${done} onPointerCancel=${() => setDrag(null)} onPointerLeave=${() => onHover?.(null)}></canvas>
    ${drag && html`<div style=${{ position: 'absolute', top: 0, bottom: 0, pointerEvents: 'none', background: 'var(--accent)', opacity: 0.2,
      left: `${LEFT + plot * Math.min(...drag)}px`, width: `${plot * Math.abs(drag[0] - drag[1])}px` }}></div>`}</div>`;
}

export function timeAxis(pen, colours, from, to, left, width, y) {
  pen.fillStyle = colours('ink2');
  const marks = ticks(from, to, Math.max(2, width / 130));
  const scale = (at) => left + ((at - from) / (to - from)) * width;
  let free = -Infinity;
  for (const at of marks) {
    const text = round(at);
    const half = pen.measureText(text).width / 2;
    const x = Math.max(left + half, Math.min(left + width - half, scale(at)));
    if (x - half < free) continue;
    pen.textAlign = 'center';
    pen.fillText(text, x, y);
    free = x + half + 8;
  }
  return scale;
}
