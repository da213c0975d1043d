//! `Attempt`: one that is open, of a job.

use std::sync::OnceLock;

use pyo3::intern;
use pyo3::prelude::*;

use super::timings::{Numbers, PHASES};
use crate::encode::Value;
use crate::fill;
use crate::span::Span;
use crate::texts::{self, Key};

/// Keys that were looked at once: of the phases below, and of the service.
fn keys() -> &'static [Key<'static>; 5] {
    static KEYS: OnceLock<[Key<'static>; 5]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [
            "spanrun.attempt.time.limit",
            "spanrun.attempt.time.rate_limit",
            "spanrun.attempt.time.busy",
            "spanrun.attempt.time.loop_lag",
            "spanrun.attempt.time.service",
        ]
        .map(texts::key)
    })
}

/// Where limit, rate limit, busy and loop lag stand among the parts of a job's time.
const OF_ATTEMPT: [usize; 4] = [1, 2, 4, 5];
const LAG: usize = 5;

/// An attempt that is open.
pub struct Attempt {
    pub told: Py<PyAny>,
    /// The context in which its span is the current one.
    pub inner: Py<PyAny>,
    begun: f64,
    is_first: bool,
    /// The parts of the job's time as it began; of a first one, the loop's lag alone.
    before: [f64; PHASES],
}

impl Attempt {
    /// The attempt of that `number`, of a job with these `timings`.
    pub fn new(
        told: Bound<'_, PyAny>,
        inner: Bound<'_, PyAny>,
        begun: f64,
        number: &Bound<'_, PyAny>,
        timings: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let is_first = number.extract::<i64>()? <= 1;
        let mut before = Numbers::of(timings)?.parts;
        if is_first {
            let lag = before[LAG];
            before = [0.0; PHASES];
            before[LAG] = lag;
        }
        Ok(Attempt {
            told: told.unbind(),
            inner: inner.unbind(),
            begun,
            is_first,
            before,
        })
    }

    /// Say on its span where its time went, unless its job's times are its own: of a
    /// first one that succeeds. `kind` does it for a span that isn't ours.
    pub fn measure(
        &self,
        kind: &Bound<'_, PyAny>,
        timings: &Py<PyAny>,
        ended: f64,
        failed: bool,
    ) -> PyResult<()> {
        if self.is_first && !failed {
            return Ok(());
        }
        let py = kind.py();
        let seconds = ended - self.begun;
        let Ok(span) = self.told.bind(py).cast::<Span>() else {
            let lag = self.before[LAG];
            let given = (&self.told, timings, self.before, lag, seconds);
            return kind.call_method1(intern!(py, "measure"), given).map(drop);
        };
        let parts = Numbers::of(timings.bind(py))?.parts;
        let spent = OF_ATTEMPT.map(|phase| parts[phase] - self.before[phase]);
        let service = (seconds - spent.iter().sum::<f64>()).max(0.0);
        let scope = span.get().scope.get();
        span.get().change(py, "set_attributes", |record| {
            for (key, part) in keys().iter().zip(spent.into_iter().chain([service])) {
                fill::set(record, scope, key, Value::Double(part));
            }
        })?;
        Ok(())
    }
}
