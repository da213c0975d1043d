//! The compiled part of spanrun, as the module `spanrun._core`.
//!
//! Each class here has a fallback in plain Python with the same interface, which
//! `spanrun._core.pyi` describes. The same tests run over both.
//!
//! Two rules hold everywhere. No lock is held while Python code can run, which is also
//! where an object of Python is dropped, or one is made that the garbage collector
//! tracks: the collector may end spans in the middle of anything. And nothing panics.

mod api;
mod attributes;
mod budget;
mod buffer;
mod cells;
mod clock;
mod columns;
mod context;
mod encode;
mod end;
mod errors;
mod fill;
mod ids;
mod interpreter;
mod job_rows;
mod json;
mod keys;
mod known;
mod local;
mod names;
mod pack;
mod quantile;
mod record;
pub mod redact;
mod scope;
mod settings;
mod slowness;
mod snapshot;
mod span;
mod start;
mod tail;
mod texts;
mod units;
mod value;
mod verdicts;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// Lock `mutex`, whatever happened to who had it before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymodule(gil_used = true)]
mod _core {
    use pyo3::prelude::*;

    use crate::local::Role;
    use crate::span::{EXEMPLAR, FAILED, RETRIED, ROOT, SLOW};

    #[pymodule_export]
    use crate::buffer::{Batch, Buffer};
    #[pymodule_export]
    use crate::cells::{ExponentialHistogram, Group, Histogram, JobCells, Sum};
    #[pymodule_export]
    use crate::ids::{random_bits, reseed};
    #[pymodule_export]
    use crate::job_rows::{JobRows, pack_rows};
    #[pymodule_export]
    use crate::json::scan_json;
    #[pymodule_export]
    use crate::pack::pack_spans;
    #[pymodule_export]
    use crate::redact::python::{is_secret_key, redact};
    #[pymodule_export]
    use crate::scope::Scope;
    #[pymodule_export]
    use crate::slowness::Slowness;
    #[pymodule_export]
    use crate::span::Span;
    #[pymodule_export]
    use crate::tail::Tail;
    #[pymodule_export]
    use crate::units::Units;
    #[pymodule_export]
    use crate::units::call::CallUnit;
    #[pymodule_export]
    use crate::units::job::{JobUnit, Jobs};
    #[pymodule_export]
    use crate::units::user::{UnitBlock, UserUnit, put_in_force, units_record};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::interpreter::refuse_sub_interpreters(module.py())?;
        crate::ids::watch_forks();
        for (name, flag) in [
            ("ERROR", FAILED),
            ("RETRIED", RETRIED),
            ("SLOW", SLOW),
            ("EXEMPLAR", EXEMPLAR),
            ("ROOT", ROOT),
            ("RUN", Role::Run as u8),
            ("JOB", Role::Job as u8),
        ] {
            module.add(name, flag)?;
        }
        Ok(())
    }
}
