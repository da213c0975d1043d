//! The units of jobs, and those of users' own code, in the shortest way.
//!
//! They are calls of `Span` and of cells, and nothing more. What few of them need (an
//! error, an event, a sampler that drops the span) is done by the classes in Python that
//! have the same interface, `spanrun.telemetry.units.job` and `.user`.

mod attempt;
pub mod call;
pub mod job;
pub mod phases;
pub mod user;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::context;
use crate::names::names;

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

/// The method `name` of `class`, in Python, with `unit` as the instance.
fn method<'py>(
    class: &Bound<'py, PyAny>,
    unit: Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let function = class.getattr(name)?;
    function.call_method1(intern!(class.py(), "__get__"), (unit,))
}
