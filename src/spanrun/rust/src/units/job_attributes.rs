//! The attributes of the spans of jobs and attempts.

use std::sync::OnceLock;

use pyo3::prelude::*;

use super::timings::{PHASES, largest};
use crate::attributes::Block;
use crate::encode::Value;
use crate::record::{OF_SPAN, Record};
use crate::texts::{self, Key};

const ATTRIBUTES: [&str; 14] = [
    "spanrun.job.slow",
    "spanrun.job.largest_phase",
    "spanrun.runner.name",
    "spanrun.run.id",
    "spanrun.job.outcome",
    "spanrun.job.attempts",
    "spanrun.job.index",
    "spanrun.job.time.queue",
    "spanrun.job.time.limit",
    "spanrun.job.time.rate_limit",
    "spanrun.job.time.backoff",
    "spanrun.job.time.busy",
    "spanrun.job.time.loop_lag",
    "spanrun.job.time.service",
];
const NUMBER: &str = "spanrun.attempt.number";
const RUNNER: usize = 2; // where the runner's name stands among the attributes
const INDEX: usize = 6; // and the index

/// Keys that were looked at once.
pub struct Keys {
    pub job: [Key<'static>; 14],
    pub attempt: [Key<'static>; 2],
}

pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        job: ATTRIBUTES.map(texts::key),
        attempt: [ATTRIBUTES[RUNNER], NUMBER].map(texts::key),
    })
}

/// What the spans of jobs and attempts have in common, encoded once a run: of an attempt
/// that is the first one, and of a job that succeeds at once, ahead of its index, and
/// behind that its phases, each with a number of eight bytes at its end.
pub struct Blocks {
    pub attempt: Block,
    ahead: Block,
    phases: Block,
    phase_ends: [usize; PHASES],
}

impl Blocks {
    pub fn new(runner: &str, run_id: &str) -> Self {
        let keys = keys();
        let [name, number] = &keys.attempt;
        let [_, _, runner_name, run, outcome, attempts, _, phases @ ..] = &keys.job;
        let (mut end, mut phase_ends) = (0, [0; PHASES]);
        for (key, at) in phases.iter().zip(&mut phase_ends) {
            end += Block::new(OF_SPAN, &[(key, Value::Double(0.0))]).len();
            *at = end;
        }
        Blocks {
            attempt: Block::new(
                OF_SPAN,
                &[(name, Value::Text(runner)), (number, Value::Int(1))],
            ),
            ahead: Block::new(
                OF_SPAN,
                &[
                    (runner_name, Value::Text(runner)),
                    (run, Value::Text(run_id)),
                    (outcome, Value::Text("ok")),
                    (attempts, Value::Int(1)),
                ],
            ),
            phases: Block::new(
                OF_SPAN,
                &phases.each_ref().map(|key| (key, Value::Double(0.0))),
            ),
            phase_ends,
        }
    }

    /// Write what a job's span has in the end, if it succeeded at once and its span has
    /// none of it yet; whether that was so.
    pub fn write(
        &self,
        record: &mut Record<Py<PyAny>>,
        limit: Option<usize>,
        index: i64,
        seconds: [f64; PHASES],
        is_slow: bool,
    ) -> bool {
        let keys = &keys().job;
        let attributes = &mut record.attributes;
        if !attributes.takes(keys, limit) {
            return false;
        }
        attributes.make_room(self.ahead.len() + self.phases.len() + keys[INDEX].text.len() + 80);
        if is_slow {
            attributes.push(OF_SPAN, &keys[0], Value::Bool(true));
        }
        attributes.push(OF_SPAN, &keys[1], Value::Text(largest(&seconds)));
        attributes.push_block(&self.ahead);
        attributes.push(OF_SPAN, &keys[INDEX], Value::Int(index));
        let bytes = attributes.push_block(&self.phases);
        for (end, part) in self.phase_ends.into_iter().zip(seconds) {
            if let Some((_, number)) = bytes.get_mut(..end).and_then(<[u8]>::split_last_chunk_mut) {
                *number = part.to_le_bytes();
            }
        }
        true
    }
}
