//! Which traces that weren't drawn are kept: the logic of `Tail`, without Python.
//!
//! Each local trace is decided upon when its local root ends; its spans wait until then.
//! `S` is the scope of a span, which this only hands on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use crate::buffer::Header;
use crate::lock;
use crate::quantile::RunningQuantile;

const MAX_NAMES: usize = 256;
const MAX_CLOSED: usize = 10_000;

/// Why a trace is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    Error,
    Retried,
    Slow,
    Exemplar,
}

impl Reason {
    /// The value of the attribute.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Error => "error",
            Reason::Retried => "retried",
            Reason::Slow => "slow",
            Reason::Exemplar => "exemplar",
        }
    }
}

/// A trace in this process, as all its spans share it.
pub struct Local<S> {
    state: Mutex<LocalState<S>>,
}

struct LocalState<S> {
    /// Local roots that have begun and not ended.
    roots: usize,
    closed: bool,
    why: Option<Reason>,
    /// Others may ask for it by its trace id.
    trace_id: Option<u128>,
    /// Its place among those that have spans that wait.
    turn: Option<u64>,
    waiting: Vec<Waiting<S>>,
    data: Vec<u8>,
}

/// A span that waits, in the data of its trace.
pub struct Waiting<S> {
    pub scope: S,
    pub header: Header,
    pub failed: bool,
}

/// Spans that don't wait any longer: kept, or left out.
pub struct Released<S> {
    pub spans: Vec<Waiting<S>>,
    pub data: Vec<u8>,
}

impl<S> Released<S> {
    /// Nothing.
    pub fn none() -> Self {
        Released {
            spans: Vec::new(),
            data: Vec::new(),
        }
    }
}

/// What is to be done, outside of all locks.
pub struct Decision<S> {
    pub verdict: Verdict,
    /// They are kept, and go before the span itself.
    pub kept: Released<S>,
    /// So many spans are left out, the span itself among them.
    pub out: usize,
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
    pub is_root: bool,
    pub reason: Option<Reason>,
    pub name: &'a Arc<str>,
    pub nanoseconds: u64,
}

/// All traces that are open, and what is remembered of those that were.
pub struct Verdicts<S> {
    slow: Option<f64>,
    max_spans: usize,
    durations: HashMap<Arc<str>, RunningQuantile>,
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
    /// `slow`: seconds from which a local root is slow.
    pub fn new(slow: Option<f64>, max_spans: usize) -> Self {
        Verdicts {
            slow,
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

    /// A trace that begins here.
    pub fn begin() -> Arc<Local<S>> {
        Arc::new(Local::new(1, None))
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
        let local = Local::new(usize::from(is_root), before.flatten());
        if before.is_some() && !is_root {
            lock(&local.state).closed = true;
        }
        let local = Arc::new(local);
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

    /// Whether a local root is slow: longer than allowed, or than 99 % of those of its
    /// name. Each is judged by those before it, and then counts itself.
    pub fn is_slow(&mut self, name: &Arc<str>, nanoseconds: u64) -> bool {
        let seconds = nanoseconds as f64 / 1e9;
        if !self.durations.contains_key(name) {
            if self.durations.len() >= MAX_NAMES {
                self.durations.clear(); // what comes often is soon back
            }
            self.durations
                .insert(name.clone(), RunningQuantile::new(0.99));
        }
        let Some(durations) = self.durations.get_mut(name) else {
            return false;
        };
        let is_slow = seconds > durations.value;
        durations.add(seconds);
        is_slow || self.slow.is_some_and(|slow| seconds >= slow)
    }

    /// Decide on a span that ended, or let it wait. `encode` appends it.
    pub fn ended(
        &mut self,
        local: &Arc<Local<S>>,
        span: &Ended<'_>,
        encode: impl FnOnce(&mut Vec<u8>) -> Waiting<S>,
    ) -> Decision<S> {
        let is_slow = span.is_root && self.is_slow(span.name, span.nanoseconds);
        let reason = span.reason.or(is_slow.then_some(Reason::Slow));
        let mut state = lock(&local.state);
        let mut decision = Decision {
            verdict: Verdict::Out,
            kept: Released::none(),
            out: 0,
            dropped: Vec::new(),
        };
        if let (None, Some(reason)) = (state.why, reason) {
            state.why = Some(reason);
            decision.kept = self.release(&mut state);
        }
        let closes = span.is_root && state.roots <= 1 && !state.closed;
        decision.verdict = match state.why {
            Some(why) => Verdict::Kept(why),
            None if closes || state.closed => Verdict::Out,
            None => Verdict::Waits,
        };
        if span.is_root {
            state.roots = state.roots.saturating_sub(1);
        }
        match decision.verdict {
            Verdict::Kept(_) => {}
            Verdict::Waits => self.wait(&mut state, local, encode),
            Verdict::Out => {
                let released = self.release(&mut state);
                decision.out = released.spans.len() + 1;
                decision.dropped.push(released);
            }
        }
        if closes {
            state.closed = true;
        }
        if state.closed
            && let Some(trace_id) = state.trace_id
        {
            let why = state.why;
            drop(state);
            self.close_known(trace_id, why);
        } else {
            drop(state);
        }
        self.make_room(&mut decision.dropped, &mut decision.out);
        decision
    }

    /// Keep a trace for an exemplar: None when it is too late.
    pub fn pin(&mut self, local: &Arc<Local<S>>) -> Option<Released<S>> {
        let mut state = lock(&local.state);
        match (state.why, state.closed) {
            (Some(_), _) => Some(Released::none()),
            (None, true) => None,
            (None, false) => {
                state.why = Some(Reason::Exemplar);
                Some(self.release(&mut state))
            }
        }
    }

    /// Leave out what waits and, from now on, what has no reason to be kept.
    pub fn close(&mut self) -> (Vec<Released<S>>, usize) {
        self.max_spans = 0;
        let (mut dropped, mut out) = (Vec::new(), 0);
        self.make_room(&mut dropped, &mut out);
        (dropped, out)
    }

    /// Forget what waits; the caller drops it.
    pub fn forget(&mut self) -> Vec<Released<S>> {
        let max_spans = std::mem::replace(&mut self.max_spans, 0);
        let (mut dropped, mut out) = (Vec::new(), 0);
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

    fn make_room(&mut self, dropped: &mut Vec<Released<S>>, out: &mut usize) {
        while self.waiting > self.max_spans {
            let Some((_, local)) = self.turns.pop_first() else {
                return;
            };
            let released = self.release(&mut lock(&local.state));
            *out += released.spans.len();
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

impl<S> Local<S> {
    fn new(roots: usize, why: Option<Reason>) -> Self {
        Local {
            state: Mutex::new(LocalState {
                roots,
                closed: false,
                why,
                trace_id: None,
                turn: None,
                waiting: Vec::new(),
                data: Vec::new(),
            }),
        }
    }
}

#[cfg(test)]
#[path = "verdicts_tests.rs"]
mod tests;
