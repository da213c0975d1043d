//! `Clock`: what a scope reads the time from, without Python where that is the system's.

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

/// A monotonic clock, in seconds.
pub struct Clock {
    now: Py<PyAny>,
    is_system: bool,
}

impl Clock {
    /// The one that `now` reads.
    pub fn new(py: Python<'_>, now: Py<PyAny>) -> Self {
        let is_system = system::IS_KNOWN && is_perf_counter(now.bind(py));
        Clock { now, is_system }
    }

    /// The callable that reads it.
    pub fn now(&self) -> &Py<PyAny> {
        &self.now
    }

    /// What it shows now.
    pub fn read(&self, py: Python<'_>) -> PyResult<f64> {
        if self.is_system
            && let Some(seconds) = system::perf_counter()
        {
            return Ok(seconds);
        }
        self.now.call0(py)?.extract(py)
    }
}

/// Whether `now` is `time.perf_counter` itself, and not what a test put in its place.
fn is_perf_counter(now: &Bound<'_, PyAny>) -> bool {
    let is = |name: &str, wanted: &str| {
        now.getattr(name)
            .is_ok_and(|found| found.extract::<String>().is_ok_and(|text| text == wanted))
    };
    now.cast_exact::<PyCFunction>().is_ok()
        && is("__name__", "perf_counter")
        && is("__module__", "time")
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod system {
    use std::ffi::c_int;

    pub const IS_KNOWN: bool = true;

    const MONOTONIC: c_int = 1;

    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    unsafe extern "C" {
        fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    }

    /// What `time.perf_counter` returns: CPython reads this clock, and divides so.
    pub fn perf_counter() -> Option<f64> {
        let mut time = Timespec {
            seconds: 0,
            nanoseconds: 0,
        };
        // SAFETY: the function is the C library's, with this signature, and writes to
        // `time` alone.
        let failed = unsafe { clock_gettime(MONOTONIC, &raw mut time) };
        let nanoseconds = time.seconds * 1_000_000_000 + time.nanoseconds;
        (failed == 0).then_some(nanoseconds as f64 / 1e9)
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod system {
    pub const IS_KNOWN: bool = false;

    pub fn perf_counter() -> Option<f64> {
        None
    }
}
