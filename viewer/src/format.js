// Numbers and texts as a person reads them.
const GAP = '\u00a0';

/** Microseconds in the unit that suits them, with three digits. */
export function time(us) {
  if (!us) return '0';
  if (us < 0) return `−${time(-us)}`;
  let [value, unit] = us < 999.5 ? [us, 'µs'] : us < 999.5e3 ? [us / 1e3, 'ms'] : [us / 1e6, 's'];
  if (unit === 's' && value >= 119.95) return long(Math.round(value));
  return `${three(value)}${GAP}${unit}`;
}

/** What came or went, with its sign. */
export const signed = (us) => `${us > 0 ? '+' : ''}${time(us)}`;

function long(seconds) {
  const pad = (n) => String(n).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${GAP}min${GAP}${pad(seconds % 60)}${GAP}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}${GAP}h${GAP}${pad(minutes % 60)}${GAP}min`;
}

export function three(value) {
  if (!value) return '0';
  if (value >= 999.5) return count(Math.round(value));
  return value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
}

export const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

/** A round time on an axis: `1 s` rather than `1.00 s`. */
export const round = (us) => time(Math.round(us)).replace(/\.0+(?=\D)|(\.\d*?[1-9])0+(?=\D)/, '$1');

/** A part of a whole as whole percents. */
export function share(part, whole) {
  if (!whole || part <= 0) return `0${GAP}%`;
  const value = (100 * part) / whole;
  if (value < 1) return `<1${GAP}%`;
  if (value > 99 && value < 100) return `>99${GAP}%`;
  return `${Math.round(value)}${GAP}%`;
}

export function times(ratio) {
  return ratio > 99 ? '>99×' : `${three(ratio)}×`;
}

export const plural = (n, word) => `${count(n)}${GAP}${word}${n === 1 ? '' : 's'}`;

/** What would steer a terminal or turn the direction of writing, made visible. */
const ACTIVE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
export function inert(text) {
  return text.replace(ACTIVE, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** On one line. */
export const line = (text) => inert(text.replace(/[\t\n\r]+/g, ' '));

/** A cell of CSV that no spreadsheet takes for a formula. */
export function cell(value) {
  let text = String(value);
  if (/^[=+\-@\t\r]/.test(text) && typeof value !== 'number') text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

export function clock(ms) {
  const d = new Date(ms);
  const pad = (n) => String(n).padStart(2, '0');
  const month = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][d.getMonth()];
  return `${d.getDate()} ${month} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

export function offset(ms) {
  const minutes = -new Date(ms).getTimezoneOffset();
  const pad = (n) => String(n).padStart(2, '0');
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? '−' : '+'}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
}

/** A value of a metric in the unit that it has. */
export function amount(value, unit) {
  if (unit === 's' || unit === 'ms') return time(value * (unit === 's' ? 1e6 : 1e3));
  if (unit === 'share') return share(value, 1);
  if (unit === 'By') return bytes(value);
  if (value < 0) return `−${amount(-value, unit)}`;
  return Number.isInteger(value) ? count(value) : value < 0.1 ? String(Number(value.toPrecision(2))) : three(value);
}

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = value >= 1024 ? Math.min(4, Math.floor(Math.log2(value) / 10)) : 0;
  return power ? `${three(value / 1024 ** power)}${GAP}${units[power]}` : `${Math.round(value)}${GAP}B`;
}

/** Round values for an axis from `low` to `high`, `most` of them at the most. */
export function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most);
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const out = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-9); n++) out.push(n * step);
  return out;
}
