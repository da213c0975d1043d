//! Which traces that weren't drawn are kept: the logic of `Tail`, without Python.
//!
//! What is decided on together is a `Local`, when its topmost span ends; its spans wait
//! until then. What is kept keeps the spans above it, up to the root, and its run's.
//! `S` is the scope of a span, which this only hands on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::budget::Budget;
use crate::local::{Local, LocalState, Out, Reason, Released, Role, Waiting};
use crate::lock;
use crate::slowness::Durations;

const MAX_NAMES: usize = 256;
const MAX_CLOSED: usize = 10_000;

/// What is to be done, outside of all locks.
pub struct Decision<S> {
    pub verdict: Verdict,
    /// They are kept, and go before the span itself.
    pub kept: Released<S>,
    /// So many spans are left out, the span itself among them.
    pub out: Out,
    /// What they were, which the caller drops.
    pub dropped: Vec<Released<S>>,
}

/// What becomes of the span that ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Kept(Reason),
    Waits,
    Out,
}

/// A span that ended, as far as it matters here.
pub struct Ended<'a> {
    pub id: u64,
    /// The span above it, if that belongs to the same.
    pub parent: Option<u64>,
    pub is_top: bool,
    pub reason: Option<Reason>,
    pub name: &'a Arc<str>,
    pub nanoseconds: u64,
}

/// All traces that are open, and what is remembered of those that were.
pub struct Verdicts<S> {
    slow: Option<f64>,
    started: Instant,
    /// For what is kept because it failed, was retried or was slow, each; and for runs.
    budgets: [Budget; 3],
    runs: Budget,
    max_spans: usize,
    durations: HashMap<Arc<str>, Durations>,
    /// Traces with spans that wait, the one that waits longest first.
    turns: BTreeMap<u64, Arc<Local<S>>>,
    next_turn: u64,
    waiting: usize,
    /// Open traces of which others know, by their ids.
    known: HashMap<u128, Weak<Local<S>>>,
    known_limit: usize,
    /// What was decided on such, lately and before that.
    closed: HashMap<u128, Option<Reason>>,
    closed_before: HashMap<u128, Option<Reason>>,
}

impl<S> Verdicts<S> {
    /// `slow`: seconds from which a topmost span is slow. `reasons`: how many a second
    /// are kept for each reason, and how many at once. `runs`: the same of runs.
    pub fn new(slow: Option<f64>, max_spans: usize, reasons: (f64, f64), runs: (f64, f64)) -> Self {
        Verdicts {
            slow,
            started: Instant::now(),
            budgets: [(); 3].map(|()| Budget::new(reasons)),
            runs: Budget::new(runs),
            max_spans,
            durations: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            waiting: 0,
            known: HashMap::new(),
            known_limit: 1_024,
            closed: HashMap::new(),
            closed_before: HashMap::new(),
        }
    }

    /// A run begins, whose topmost span is `id` of `local`: it is kept, within a budget.
    pub fn begin_run(&mut self, local: &Arc<Local<S>>, id: u64) {
        let now = self.started.elapsed().as_secs_f64();
        if self.runs.take(now) {
            lock(&local.state).is_run_kept = true;
            Self::want(local, id);
        }
    }

    /// Keep the span `id` of `local` when it ends, and those above it up to the root.
    pub fn want(local: &Arc<Local<S>>, id: u64) {
        let mut next = Some((local, id));
        while let Some((local, id)) = next {
            let mut state = lock(&local.state);
            if state.why.is_some() || state.wanted.contains(&id) {
                break; // and so are those above
            }
            state.want(id);
            next = local.above.as_ref().map(|(above, id)| (above, *id));
        }
    }

    /// The trace of a span whose parent isn't ours, by its id. Those that overlap are
    /// decided upon together.
    pub fn join(&mut self, trace_id: u128, is_root: bool) -> Arc<Local<S>> {
        if let Some(local) = self.known.get(&trace_id).and_then(Weak::upgrade) {
            let mut state = lock(&local.state);
            if !state.closed {
                state.roots += usize::from(is_root);
                drop(state);
                return local;
            }
        }
        let before = self.closed.get(&trace_id).copied();
        let before = before.or_else(|| self.closed_before.get(&trace_id).copied());
        let local = Arc::new(Local::new(Role::Any, None));
        {
            let mut state = lock(&local.state);
            state.roots = usize::from(is_root);
            state.why = before.flatten();
            state.closed = before.is_some() && !is_root;
        }
        self.register(trace_id, &local);
        local
    }

    /// Let `join` find `local`: its trace id is known outside.
    pub fn register(&mut self, trace_id: u128, local: &Arc<Local<S>>) {
        let mut state = lock(&local.state);
        if state.closed || state.trace_id.is_some() {
            return;
        }
        state.trace_id = Some(trace_id);
        drop(state);
        if self.known.len() >= self.known_limit {
            self.known.retain(|_, local| local.strong_count() > 0);
            self.known_limit = 1_024.max(2 * self.known.len());
        }
        self.known.insert(trace_id, Arc::downgrade(local));
    }

    /// Whether a local root is slow, by those of its name.
    pub fn is_slow(&mut self, name: &Arc<str>, nanoseconds: u64) -> bool {
        let seconds = nanoseconds as f64 / 1e9;
        if !self.durations.contains_key(name) {
            if self.durations.len() >= MAX_NAMES {
                self.durations.clear(); // what comes often is soon back
            }
            self.durations
                .insert(name.clone(), Durations::new(self.slow));
        }
        let durations = self.durations.get_mut(name);
        durations.is_some_and(|durations| durations.is_slow(seconds))
    }

    /// Decide on a span that ended, or let it wait. `encode` appends it.
    pub fn ended(
        &mut self,
        local: &Arc<Local<S>>,
        span: &Ended<'_>,
        encode: impl FnOnce(&mut Vec<u8>) -> Waiting<S>,
    ) -> Decision<S> {
        let is_slow = span.is_top && self.is_slow(span.name, span.nanoseconds);
        let reason = span.reason.or(is_slow.then_some(Reason::Slow));
        let mut state = lock(&local.state);
        let mut decision = Decision {
            verdict: Verdict::Out,
            kept: Released::none(),
            out: Out::default(),
            dropped: Vec::new(),
        };
        let before = state.why;
        match (before, state.refused, reason) {
            (None, None, Some(reason)) => {
                let is_kept = self.affords(reason);
                state.why = is_kept.then_some(reason);
                state.refused = (!is_kept).then_some(reason);
            }
            // It is kept whatever happens: then what has happened is what is said.
            (Some(Reason::Exemplar), _, Some(reason)) => state.why = Some(reason),
            _ => {}
        }
        let is_wanted = state.take_wanted(span.id);
        if is_wanted && let Some(parent) = span.parent {
            state.want(parent);
        }
        let closes = span.is_top && state.roots <= 1 && !state.closed;
        if closes && !state.wanted.is_empty() && state.why.is_none() {
            // What is wanted has ended before, or ends later: which others are above it
            // isn't known.
            state.why = Some(Reason::Path);
        }
        if before.is_none() && state.why.is_some() {
            decision.kept = self.release(&mut state);
        }
        decision.verdict = match state.why {
            Some(Reason::Path) => Verdict::Kept(state.path()),
            Some(why) => Verdict::Kept(why),
            None if is_wanted => Verdict::Kept(state.path()),
            None if closes || state.closed => Verdict::Out,
            None => Verdict::Waits,
        };
        if span.is_top {
            state.roots = state.roots.saturating_sub(1);
        }
        match decision.verdict {
            Verdict::Waits => self.wait(&mut state, local, encode),
            Verdict::Out => decision.out.add(state.refused, 1),
            Verdict::Kept(_) => {}
        }
        if closes {
            let released = self.release(&mut state);
            decision.out.add(state.refused, released.spans.len());
            decision.dropped.push(released);
        }
        state.closed |= closes;
        let known = state.trace_id.filter(|_| state.closed);
        let why = state.why;
        drop(state);
        if let Some(trace_id) = known {
            self.close_known(trace_id, why);
        }
        if before.is_none()
            && why.is_some()
            && let Some((above, id)) = &local.above
        {
            Self::want(above, *id);
        }
        self.make_room(&mut decision.dropped, &mut decision.out);
        decision
    }

    /// Whether one more may be kept for `reason`.
    fn affords(&mut self, reason: Reason) -> bool {
        let now = self.started.elapsed().as_secs_f64();
        let budget = self.budgets.get_mut(reason as usize);
        budget.is_none_or(|budget| budget.take(now))
    }

    /// Keep a trace for an exemplar: None when it is too late.
    pub fn pin(&mut self, local: &Arc<Local<S>>) -> Option<Released<S>> {
        let mut state = lock(&local.state);
        match (state.why, state.closed) {
            (Some(_), _) => return Some(Released::none()),
            (None, true) => return None,
            (None, false) => state.why = Some(Reason::Exemplar),
        }
        let kept = self.release(&mut state);
        drop(state);
        if let Some((above, id)) = &local.above {
            Self::want(above, *id);
        }
        Some(kept)
    }

    /// Leave out what waits and, from now on, what has no reason to be kept.
    pub fn close(&mut self) -> (Vec<Released<S>>, Out) {
        self.max_spans = 0;
        let (mut dropped, mut out) = (Vec::new(), Out::default());
        self.make_room(&mut dropped, &mut out);
        (dropped, out)
    }

    /// Forget what waits; the caller drops it.
    pub fn forget(&mut self) -> Vec<Released<S>> {
        let max_spans = std::mem::replace(&mut self.max_spans, 0);
        let (mut dropped, mut out) = (Vec::new(), Out::default());
        self.make_room(&mut dropped, &mut out);
        self.max_spans = max_spans;
        self.known.clear();
        self.closed.clear();
        self.closed_before.clear();
        dropped
    }

    fn wait(
        &mut self,
        state: &mut LocalState<S>,
        local: &Arc<Local<S>>,
        encode: impl FnOnce(&mut Vec<u8>) -> Waiting<S>,
    ) {
        let before = state.data.len();
        let mut waiting = encode(&mut state.data);
        waiting.header.size = u32::try_from(state.data.len() - before).unwrap_or(u32::MAX);
        state.waiting.push(waiting);
        self.waiting += 1;
        if state.turn.is_none() {
            state.turn = Some(self.next_turn);
            self.turns.insert(self.next_turn, local.clone());
            self.next_turn += 1;
        }
    }

    fn release(&mut self, state: &mut LocalState<S>) -> Released<S> {
        if let Some(turn) = state.turn.take() {
            self.turns.remove(&turn);
        }
        self.waiting = self.waiting.saturating_sub(state.waiting.len());
        Released {
            spans: std::mem::take(&mut state.waiting),
            data: std::mem::take(&mut state.data),
        }
    }

    fn make_room(&mut self, dropped: &mut Vec<Released<S>>, out: &mut Out) {
        while self.waiting > self.max_spans {
            let Some((_, local)) = self.turns.pop_first() else {
                return;
            };
            let mut state = lock(&local.state);
            let released = self.release(&mut state);
            out.add(state.refused, released.spans.len());
            dropped.push(released);
        }
    }

    fn close_known(&mut self, trace_id: u128, why: Option<Reason>) {
        self.known.remove(&trace_id);
        self.closed.insert(trace_id, why);
        if self.closed.len() >= MAX_CLOSED {
            self.closed_before = std::mem::take(&mut self.closed);
        }
    }
}

#[cfg(test)]
#[path = "verdicts_tests.rs"]
mod tests;
