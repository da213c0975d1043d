//! The compiled part of spanrun, as the module `spanrun._core`.
//!
//! Each class here has a fallback in plain Python with the same interface, which
//! `spanrun._core.pyi` describes. The same tests run over both.

pub mod redact;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use crate::redact::python::{is_secret_key, redact};
}
