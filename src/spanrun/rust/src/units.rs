//! The units of jobs, of users' own code and of calls, in the shortest way.
//!
//! They are calls of `Span` and of cells, and nothing more. What few of them need (an
//! error, a retry, a sampler that drops the span) is done by the classes in Python that
//! have the same interface, `spanrun.telemetry.units.job` and `.user`.

mod attempt;
pub mod call;
pub mod job;
mod job_attributes;
pub mod timings;
pub mod user;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use self::call::CallUnit;
use self::user::UserUnit;
use crate::context;
use crate::names::names;
use crate::scope::Scope;

/// Opens units of users and of calls that record into one recorder.
#[pyclass(frozen, module = "spanrun._core")]
pub struct Units {
    recorder: Py<PyAny>,
    scope: Py<Scope>,
    /// The classes in Python.
    user: Py<PyAny>,
    call: Py<PyAny>,
    /// What adds to the durations: of users' units by their name, and of calls.
    user_series: Py<PyDict>,
    call_series: Py<PyDict>,
}

#[pymethods]
impl Units {
    #[new]
    fn new(
        recorder: Py<PyAny>,
        scope: Py<Scope>,
        user: Py<PyAny>,
        call: Py<PyAny>,
        user_series: Py<PyDict>,
        call_series: Py<PyDict>,
    ) -> Self {
        Units {
            recorder,
            scope,
            user,
            call,
            user_series,
            call_series,
        }
    }

    /// Open a user's unit below the current span, and make its span the current one.
    fn open_unit<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyString>,
        attributes: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        UserUnit::open(slf, name, attributes)
    }

    /// Open the unit of a call below the current span, to be entered.
    fn open_call<'py>(
        slf: &Bound<'py, Self>,
        kind: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        CallUnit::open(slf, kind)
    }

    // The recorder has this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.recorder)
    }
}

/// Make `outside` current again, unless something else than `context` is by now.
fn leave(context: &Bound<'_, PyAny>, outside: &Bound<'_, PyAny>) -> PyResult<()> {
    let names = names(context.py())?;
    let now = names.current.bind(context.py()).call0()?;
    if now.is(context) {
        let open = context::open_context(outside)?;
        names.make_current.bind(context.py()).call1((open,))?;
    }
    Ok(())
}
