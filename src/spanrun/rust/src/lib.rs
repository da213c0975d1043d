//! The compiled part of spanrun, as the module `spanrun._core`.
//!
//! Each class here has a fallback in plain Python with the same interface, which
//! `spanrun._core.pyi` describes. The same tests run over both.

mod interpreter;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _core {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        interpreter::refuse_sub_interpreters(module.py())
    }
}
