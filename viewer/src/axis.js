// The axis of a trace's time, on which long stretches without anything are folded.
import { ticks } from './format.js';

/** The part of the time from which a stretch is long, how much of it all must be empty, and how wide a fold is. */
const LONG = 0.2;
const MOSTLY = 0.8;
const FOLDED = 0.04;

/** The long stretches in which no span is open but those that wait for others, where they leave little room for the rest. */
export function gapsOf(data, tree, from, to) {
  const { start, duration } = data.spans;
  const leaves = tree.filter(({ children }) => !children).map(({ row }) => [start[row], start[row] + duration[row]]).sort((a, b) => a[0] - b[0]);
  const gaps = [];
  let reached = from;
  for (const [a, b] of [...leaves, [to, to]]) {
    if (a - reached >= LONG * (to - from)) gaps.push([reached, a]);
    reached = Math.max(reached, b);
  }
  return gaps.reduce((sum, [a, b]) => sum + b - a, 0) >= MOSTLY * (to - from) ? gaps : [];
}

/** `at` gives the place of a time in percent; `marks` are round times, from `from`. */
export function axisOf(from, to, gaps) {
  const parts = []; // each with its end, and how much a percent of width is there
  const left = to - from - gaps.reduce((sum, [a, b]) => sum + b - a, 0);
  const whole = 100 * (1 - FOLDED * gaps.length);
  let at = from;
  const add = (a, b, width, isGap) => { if (b > a) parts.push({ a, b, width, isGap }); };
  for (const [a, b] of gaps) {
    add(at, a, (whole * (a - at)) / (left || 1), false);
    add(a, b, left ? 100 * FOLDED : 100 / gaps.length, true);
    at = b;
  }
  add(at, to, (whole * (to - at)) / (left || 1), false);
  let sum = 0;
  for (const part of parts) { part.left = sum; sum += part.width; }
  const place = (us) => {
    const part = parts.find((each) => us <= each.b) || parts[parts.length - 1];
    return part.left + (part.width * (Math.max(us, part.a) - part.a)) / (part.b - part.a);
  };
  return { at: place, marks: marksOf(parts, from), gaps: parts.filter((each) => each.isGap) };
}

function marksOf(parts, from) {
  return parts.filter((each) => !each.isGap && each.width > 5).flatMap(({ a, b, width }) => ticks(a - from, b - from, Math.max(1, width / 25)));
}
