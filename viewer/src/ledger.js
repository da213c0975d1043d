// A job's phases on the axis of its time, and the path that took the longest.

const IN_ATTEMPT = ['limit', 'rate_limit', 'loop_lag', 'busy', 'service'];

/**
 * The phases in the order in which the job met them, as [phase, amount].
 *
 * Attempts say how much of each phase was in them; between two there was back-off. What
 * no attempt says comes at the end, so the parts always add up to the ledger.
 */
export function ledgerOf(data, job, tree) {
  const left = Object.fromEntries(data.names.map((name, p) => [name, data.phases[p][job]]));
  const out = [];
  const take = (phase, amount) => {
    const taken = Math.min(left[phase], Math.max(0, amount));
    if (taken > 0) out.push([phase, taken]);
    left[phase] -= taken;
  };
  const attempts = attemptsOf(data, tree);
  take('queue', left.queue);
  attempts.forEach(({ row, told }, place) => {
    for (const phase of IN_ATTEMPT) if (phase in told) take(phase, told[phase]);
    const after = attempts[place + 1];
    if (after) take('backoff', data.spans.start[after.row] - data.spans.start[row] - data.spans.duration[row]);
  });
  for (const phase of ['limit', 'rate_limit', 'backoff', 'loop_lag', 'busy', 'service']) if (phase in left) take(phase, left[phase]);
  return out;
}

function attemptsOf(data, tree) {
  const found = [];
  for (const { row } of tree) {
    if (!data.text[data.spans.name[row]].startsWith('attempt ')) continue;
    const attributes = data.spans.attributes[row] ? JSON.parse(data.text[data.spans.attributes[row]]) : {};
    const told = {};
    for (const [name, value] of Object.entries(attributes)) {
      const match = /\.attempt\.time\.(\w+)$/.exec(name);
      if (match) told[match[1]] = value * 1e6;
    }
    found.push({ row, told });
  }
  return found.sort((a, b) => data.spans.start[a.row] - data.spans.start[b.row]);
}

/** For each span on the critical path the parts of time in which it alone is on it. */
export function criticalPath(data, tree) {
  const { start, duration } = data.spans;
  const end = (row) => start[row] + duration[row];
  const children = new Map();
  const above = [];
  for (const { row, depth } of tree) {
    above.length = depth;
    const parent = above[depth - 1];
    if (parent !== undefined) children.set(parent, [...(children.get(parent) || []), row]);
    above[depth] = row;
  }
  const found = new Map();
  const waiting = tree.length ? [[tree[0].row, end(tree[0].row)]] : [];
  while (waiting.length) {
    const [row, until] = waiting.pop();
    let at = Math.min(until, end(row));
    const parts = [];
    const below = (children.get(row) || []).sort((a, b) => end(b) - end(a));
    for (const child of below) {
      if (start[child] >= at || duration[child] === 0) continue;
      const last = Math.min(at, end(child));
      if (at > last) parts.push([last, at]);
      waiting.push([child, last]);
      at = Math.max(start[row], start[child]);
    }
    if (at > start[row]) parts.push([start[row], at]);
    found.set(row, parts);
  }
  return found;
}
