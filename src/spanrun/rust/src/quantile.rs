//! `RunningQuantile`: a quantile of the latest values, in little time and memory.

use std::collections::BTreeMap;

/// Values without which nothing is said: the p99 of fewer is their maximum.
pub const FEWEST: u64 = 100;

const STEPS: f64 = 8.0; // buckets for each doubling: each is 9 % wide
const KEPT: u64 = 2_000;
const SMALLEST: f64 = 1e-9;
const OFTEN: u64 = 50; // values between two looks

/// The quantile `q` of the latest few thousand positive values.
///
/// They are counted in buckets that are 9 % wide, and all counts are halved now and
/// then: it follows a service that changes.
pub struct RunningQuantile {
    q: f64,
    counts: BTreeMap<i32, u64>,
    total: u64,
    until: u64,
    /// An upper bound of the quantile, so that values which hardly differ aren't
    /// above it; infinite before there are enough of them.
    pub value: f64,
}

impl RunningQuantile {
    /// Without a value yet.
    pub fn new(q: f64) -> Self {
        RunningQuantile {
            q,
            counts: BTreeMap::new(),
            total: 0,
            until: FEWEST,
            value: f64::INFINITY,
        }
    }

    /// Take in a value.
    pub fn add(&mut self, value: f64) {
        let bucket = (value.max(SMALLEST).log2() * STEPS).ceil() as i32;
        *self.counts.entry(bucket).or_insert(0) += 1;
        self.total += 1;
        self.until -= 1;
        if self.until == 0 {
            self.look();
        }
    }

    fn look(&mut self) {
        self.until = OFTEN;
        let mut above = ((1.0 - self.q) * self.total as f64) as i64;
        for (bucket, count) in self.counts.iter().rev() {
            above -= *count as i64;
            if above < 0 {
                self.value = (f64::from(*bucket) / STEPS).exp2();
                break;
            }
        }
        if self.total >= KEPT {
            self.counts.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
            self.total = self.counts.values().sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_infinite_before_there_are_enough_values() {
        let mut quantile = RunningQuantile::new(0.99);
        for _ in 1..FEWEST {
            quantile.add(1.0);
        }
        assert_eq!(quantile.value, f64::INFINITY);
        quantile.add(1.0);
        assert_eq!(quantile.value, 1.0);
    }

    #[test]
    fn it_is_at_most_a_bucket_above_the_exact_one() {
        let mut quantile = RunningQuantile::new(0.9);
        for n in 1..=FEWEST {
            quantile.add(n as f64);
        }
        assert!((90.0..=91.0 * 1.1).contains(&quantile.value));
    }

    #[test]
    fn it_follows_values_that_grow() {
        let mut quantile = RunningQuantile::new(0.99);
        for _ in 0..3_000 {
            quantile.add(1.0);
        }
        for _ in 0..3_000 {
            quantile.add(4.0);
        }
        assert_eq!(quantile.value, 4.0);
    }

    #[test]
    fn nonsense_is_a_value_like_another() {
        let mut quantile = RunningQuantile::new(0.99);
        for value in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            for _ in 0..FEWEST {
                quantile.add(value);
            }
        }
        assert!(quantile.total > 0);
    }
}
