//! The units of jobs, and those of users' own code, in the shortest way.
//!
//! They are calls of `Span` and of cells, and nothing more. What few of them need (an
//! error, an event, a sampler that drops the span) is done by the classes in Python that
//! have the same interface, `spanrun.telemetry.units.job` and `.user`.

mod attempt;
pub mod call;
pub mod job;
pub mod user;

use pyo3::prelude::*;

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
