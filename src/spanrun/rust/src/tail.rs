//! `Tail`: decides which traces that weren't drawn are kept.

use std::sync::Mutex;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::local::{self, Out, Released};
use crate::lock;
use crate::scope::Scope;
use crate::verdicts::Verdicts;

/// The local trace of a span of ours.
pub type Local = local::Local<Py<Scope>>;

/// Decides which traces that weren't drawn are kept, when their local root ends.
#[pyclass(frozen, weakref, module = "spanrun._core")]
pub struct Tail {
    sampled_out: Py<PyAny>,
    /// The attribute in which a kept root says why.
    pub reason_key: String,
    verdicts: Mutex<Verdicts<Py<Scope>>>,
}

impl Tail {
    /// Do something with all traces. No Python code may run in `act`.
    pub fn with<T>(&self, act: impl FnOnce(&mut Verdicts<Py<Scope>>) -> T) -> T {
        act(&mut lock(&self.verdicts))
    }

    /// Count spans that are left out. No lock may be held.
    pub fn count_out(&self, py: Python<'_>, out: &Out) -> PyResult<()> {
        for (reason, spans) in out.each() {
            self.sampled_out.call1(py, (spans, reason))?;
        }
        Ok(())
    }
}

/// Hand spans that are kept to the buffers of their scopes: all of them, whatever the
/// buffers' callbacks raise. No lock may be held.
pub fn hand_over(py: Python<'_>, released: Released<Py<Scope>>) -> PyResult<()> {
    let mut rest = released.data.as_slice();
    let mut result = Ok(());
    for span in released.spans {
        let size = span.header.size as usize;
        let Some((encoded, after)) = rest.split_at_checked(size) else {
            break;
        };
        rest = after;
        let settings = span.scope.get().settings();
        let put = Scope::put(&span.scope, &settings, py, span.failed, |out| {
            out.extend_from_slice(encoded);
            span.header
        });
        result = result.and(put);
    }
    result
}

#[pymethods]
impl Tail {
    #[new]
    fn new(
        slow: Option<f64>,
        sampled_out: Py<PyAny>,
        max_spans: usize,
        reason_key: String,
        reasons: (f64, f64),
        runs: (f64, f64),
    ) -> Self {
        Tail {
            sampled_out,
            reason_key,
            verdicts: Mutex::new(Verdicts::new(slow, max_spans, reasons, runs)),
        }
    }

    /// Leave out what waits and, from now on, what has no reason to be kept.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let (dropped, out) = self.with(Verdicts::close);
        drop(dropped);
        self.count_out(py, &out)
    }

    /// Forget what waits: it is the parent's.
    fn after_fork(&self) {
        let forgotten = self.with(Verdicts::forget);
        drop(forgotten);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.sampled_out)
    }
}
