//! The phases that a job's time is made of.

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyTuple};

/// How many there are.
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

/// What `Timings.parts` gives.
pub fn parts_of(parts: &Bound<'_, PyAny>) -> PyResult<[f64; PHASES]> {
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
