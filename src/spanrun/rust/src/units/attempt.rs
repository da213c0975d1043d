//! `Attempt`: one that is open, of a job.

use pyo3::intern;
use pyo3::prelude::*;

/// An attempt that is open.
pub struct Attempt {
    pub told: Py<PyAny>,
    /// The context in which its span is the current one.
    pub inner: Py<PyAny>,
    begun: f64,
    /// Of the job's times as it began: the loop's lag, and all parts but of a first one.
    lag: f64,
    before: Option<Py<PyAny>>,
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
        let py = timings.py();
        let before = if number.extract::<i64>()? > 1 {
            Some(timings.call_method0(intern!(py, "parts"))?.unbind())
        } else {
            None
        };
        Ok(Attempt {
            told: told.unbind(),
            inner: inner.unbind(),
            begun,
            lag: timings.getattr(intern!(py, "loop_lag"))?.extract()?,
            before,
        })
    }

    /// Have `kind` say on its span where its time went, unless its job's times are its
    /// own: of a first one that succeeds.
    pub fn measure(
        &self,
        kind: &Bound<'_, PyAny>,
        timings: &Py<PyAny>,
        ended: f64,
        failed: bool,
    ) -> PyResult<()> {
        if failed || self.before.is_some() {
            let seconds = ended - self.begun;
            let given = (&self.told, timings, &self.before, self.lag, seconds);
            kind.call_method1(intern!(kind.py(), "measure"), given)?;
        }
        Ok(())
    }
}
