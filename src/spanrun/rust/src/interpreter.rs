//! Which interpreters may load the module.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Refuse a sub-interpreter, which uses the fallback then.
///
/// The statics here hold Python objects of one interpreter. CPython 3.12 and later
/// refuse by themselves; 3.11 would share those objects between interpreters.
pub fn refuse_sub_interpreters(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: the token `_py` says that this thread is attached to an interpreter.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "spanrun._core can't be loaded in a sub-interpreter",
    ))
}
