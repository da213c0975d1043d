//! `Slowness`: which of some durations are long.

use std::sync::Mutex;

use pyo3::prelude::*;

use crate::lock;
use crate::quantile::RunningQuantile;

/// What is long among durations that are alike: longer than allowed, or than 99 % of
/// those before.
pub struct Durations {
    allowed: Option<f64>,
    p99: RunningQuantile,
}

impl Durations {
    /// `allowed`: seconds from which on one is long.
    pub fn new(allowed: Option<f64>) -> Self {
        Durations {
            allowed,
            p99: RunningQuantile::new(0.99),
        }
    }

    /// Whether `seconds` are long. Each is judged by those before it, and then counts.
    pub fn is_slow(&mut self, seconds: f64) -> bool {
        let is_slow = seconds > self.p99.value;
        self.p99.add(seconds);
        is_slow || self.allowed.is_some_and(|allowed| seconds >= allowed)
    }
}

/// Says which jobs of a runner are slow.
#[pyclass(frozen, module = "spanrun._core")]
pub struct Slowness {
    durations: Mutex<Durations>,
}

impl Slowness {
    pub fn judge(&self, seconds: f64) -> bool {
        lock(&self.durations).is_slow(seconds)
    }
}

#[pymethods]
impl Slowness {
    #[new]
    fn new(allowed: Option<f64>) -> Self {
        Slowness {
            durations: Mutex::new(Durations::new(allowed)),
        }
    }

    /// Whether a job that took `seconds` is slow.
    fn is_slow(&self, seconds: f64) -> bool {
        self.judge(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantile::FEWEST;

    #[test]
    fn what_takes_as_long_as_allowed_is_slow_from_the_first_on() {
        let mut durations = Durations::new(Some(2.0));
        assert!(!durations.is_slow(1.9));
        assert!(durations.is_slow(2.0));
    }

    #[test]
    fn what_takes_longer_than_most_is_slow_once_there_are_enough() {
        let mut durations = Durations::new(None);
        for _ in 0..FEWEST {
            assert!(!durations.is_slow(1.0));
        }
        assert!(durations.is_slow(3.0));
        assert!(!durations.is_slow(1.0));
    }
}
