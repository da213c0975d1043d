//! The compiled part of spanrun, as the module `spanrun._core`.
//!
//! Each class here has a fallback in plain Python with the same interface, which
//! `spanrun._core.pyi` describes. The same tests run over both.

mod cells;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use super::cells::{ExponentialHistogram, Group, Histogram, JobCells, Sum};
}
