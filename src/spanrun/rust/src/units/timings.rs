//! The numbers of a job's `Timings`, and the phases that they are of.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyTuple};

/// How many parts a job's time has.
pub const PHASES: usize = 7;
const NAMES: [&str; PHASES] = [
    "queue",
    "limit",
    "rate_limit",
    "backoff",
    "busy",
    "loop_lag",
    "service",
];

/// Where a job's time went, in seconds.
pub struct Numbers {
    pub parts: [f64; PHASES],
    pub duration: f64,
    pub submitted: f64,
}

impl Numbers {
    /// Those of `timings` by now.
    pub fn of(timings: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = timings.py();
        if let Some(numbers) = READ.get_or_init(py, || find(py)) {
            let mut found = [0.0; PHASES + 2];
            // SAFETY: it is the function of `native/seconds.c`, in a module that is never
            // unloaded. It writes so many numbers, and runs no Python code.
            if unsafe { numbers(timings.as_ptr(), found.as_mut_ptr()) } != 0 {
                let [parts @ .., duration, submitted] = found;
                return Ok(Numbers {
                    parts,
                    duration,
                    submitted,
                });
            }
        }
        let parts = timings.call_method0(intern!(py, "parts"))?;
        Ok(Numbers {
            parts: parts_of(&parts)?,
            duration: timings.getattr(intern!(py, "duration"))?.extract()?,
            submitted: timings.getattr(intern!(py, "submitted"))?.extract()?,
        })
    }
}

/// The name of the phase that took longest, the first one of several.
pub fn largest(seconds: &[f64; PHASES]) -> &'static str {
    let (mut name, mut most) = (NAMES[0], seconds[0]);
    for (other, more) in NAMES.iter().zip(seconds) {
        if *more > most {
            (name, most) = (other, *more);
        }
    }
    name
}

type Read = unsafe extern "C" fn(*mut ffi::PyObject, *mut f64) -> c_int;

/// What reads them of an object in C, without an object for each number; None where
/// they are in Python.
static READ: PyOnceLock<Option<Read>> = PyOnceLock::new();

fn find(py: Python<'_>) -> Option<Read> {
    let capsule = py.import("spanrun._native").ok()?.getattr("numbers").ok()?;
    let name = c"spanrun._native.numbers";
    // SAFETY: the name is that under which `native/seconds.c` keeps this function.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule.as_ptr(), name.as_ptr()) == 0 {
            return None;
        }
        let found = ffi::PyCapsule_GetPointer(capsule.as_ptr(), name.as_ptr());
        (!found.is_null()).then(|| std::mem::transmute::<*mut std::ffi::c_void, Read>(found))
    }
}

/// What `Timings.parts` gives.
fn parts_of(parts: &Bound<'_, PyAny>) -> PyResult<[f64; PHASES]> {
    let mut seconds = [0.0; PHASES];
    for (place, part) in seconds
        .iter_mut()
        .zip(parts.cast::<PyTuple>()?.iter_borrowed())
    {
        *place = match part.cast::<PyFloat>() {
            Ok(part) => part.value(),
            Err(_) => part.extract()?,
        };
    }
    Ok(seconds)
}
