//! `Budget`: how often something may be done.

/// A token bucket: so many a second in the long run, and at most so many at once.
pub struct Budget {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: f64,
}

impl Budget {
    /// A full one. It begins at the reading 0 of the clock.
    pub fn new((rate, burst): (f64, f64)) -> Self {
        Budget {
            rate,
            burst,
            tokens: burst,
            at: 0.0,
        }
    }

    /// Whether it may be done once more, at `now`, a reading of the monotonic clock.
    pub fn take(&mut self, now: f64) -> bool {
        let more = (now - self.at).max(0.0) * self.rate;
        self.tokens = self.burst.min(self.tokens + more);
        self.at = now;
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_at_once_is_bounded_and_comes_back_with_time() {
        let mut budget = Budget::new((2.0, 3.0));
        let taken = [0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 0.5, 1.0].map(|now| budget.take(now));
        let wanted = [true, true, true, false, false, true, false, true];
        assert_eq!(taken, wanted);
        let after_long = [100.0; 4].map(|now| budget.take(now));
        assert_eq!(after_long, [true, true, true, false]);
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        let mut budget = Budget::new((0.0, 0.0));
        assert!(!budget.take(1e9));
    }
}
