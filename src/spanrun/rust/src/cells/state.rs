//! What cells hold, and the arithmetic of adding to it. There is no Python in here,
//! so all of it may run while the lock of a group is held.

use std::collections::BTreeMap;
use std::mem;

const MAX_SCALE: i32 = 20;
const MAX_BUCKETS: i64 = 160;

/// A measurement that leads to the trace in which it was made.
#[derive(Clone)]
pub struct Exemplar {
    pub value: f64,
    /// Nanoseconds since the Unix epoch.
    pub when: i64,
    pub trace_id: u128,
    pub span_id: u64,
}

/// What is added: a sum of whole numbers stays one.
#[derive(Clone, Copy)]
pub enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    pub fn real(self) -> f64 {
        match self {
            Number::Whole(value) => value as f64,
            Number::Real(value) => value,
        }
    }

    fn plus(self, other: Number) -> Number {
        if let (Number::Whole(one), Number::Whole(two)) = (self, other)
            && let Some(sum) = one.checked_add(two)
        {
            return Number::Whole(sum);
        }
        Number::Real(self.real() + other.real())
    }
}

/// The numbers that each kind of histogram has.
#[derive(Clone, Copy)]
pub struct Range {
    pub sum: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Range {
    const EMPTY: Range = Range {
        sum: 0.0,
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
    };

    fn add(&mut self, value: f64) {
        self.sum += value;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }
}

/// Counts in buckets with explicit bounds, which are inclusive upwards.
pub struct Histogram {
    bounds: Box<[f64]>,
    counts: Vec<u64>,
    range: Range,
    exemplars: Vec<Option<Exemplar>>,
}

impl Histogram {
    pub fn new(bounds: Vec<f64>) -> Self {
        let buckets = bounds.len() + 1;
        Histogram {
            bounds: bounds.into(),
            counts: vec![0; buckets],
            range: Range::EMPTY,
            exemplars: vec![None; buckets],
        }
    }

    fn add(&mut self, value: f64) -> Option<i64> {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.range.add(value);
        self.exemplars[bucket].is_none().then_some(bucket as i64)
    }

    fn reset(&mut self) {
        self.counts.fill(0);
        self.range = Range::EMPTY;
    }
}

/// Counts in buckets whose bounds are powers of `2 ** 2 ** -scale`. The scale shrinks
/// when the values don't fit into 160 buckets (OpenTelemetry specification, Metrics
/// data model, ExponentialHistogram). Only for values that aren't negative.
pub struct Exponential {
    counts: BTreeMap<i64, u64>,
    scale: i32,
    zeros: u64,
    range: Range,
    exemplars: BTreeMap<i64, Exemplar>,
}

impl Exponential {
    pub fn new() -> Self {
        Exponential {
            counts: BTreeMap::new(),
            scale: MAX_SCALE,
            zeros: 0,
            range: Range::EMPTY,
            exemplars: BTreeMap::new(),
        }
    }

    fn add(&mut self, value: f64) -> Option<i64> {
        self.range.add(value);
        if value.is_nan() || value <= 0.0 {
            self.zeros += 1;
            return None;
        }
        let mut bucket = self.bucket(value);
        *self.counts.entry(bucket).or_insert(0) += 1;
        if self.width() > MAX_BUCKETS {
            self.shrink();
            bucket = self.bucket(value);
        }
        (!self.exemplars.contains_key(&bucket)).then_some(bucket)
    }

    /// How many buckets there are from the first that counts to the last.
    fn width(&self) -> i64 {
        let first = self.counts.first_key_value().map_or(0, |(at, _)| *at);
        let last = self.counts.last_key_value().map_or(-1, |(at, _)| *at);
        last - first + 1
    }

    fn shrink(&mut self) {
        while self.width() > MAX_BUCKETS {
            self.scale -= 1;
            for (at, count) in mem::take(&mut self.counts) {
                *self.counts.entry(at >> 1).or_insert(0) += count;
            }
            for (at, exemplar) in mem::take(&mut self.exemplars) {
                self.exemplars.entry(at >> 1).or_insert(exemplar);
            }
        }
    }

    /// The bucket of a value; what is beyond the normal floats is in theirs.
    fn bucket(&self, value: f64) -> i64 {
        let exponent = value.clamp(f64::MIN_POSITIVE, f64::MAX).log2();
        (exponent * f64::from(self.scale).exp2()).ceil() as i64 - 1
    }

    fn reset(&mut self) {
        let exemplars = mem::take(&mut self.exemplars);
        *self = Exponential {
            exemplars,
            ..Exponential::new()
        };
    }
}

pub enum Kind {
    Sum(Number),
    Histogram(Histogram),
    Exponential(Exponential),
}

/// What a cell holds. With `delta` each reading begins it again from zero.
pub struct State {
    pub kind: Kind,
    pub delta: bool,
}

impl State {
    /// Take a measurement. Returns its bucket if that has no exemplar yet.
    pub fn add(&mut self, value: Number) -> Option<i64> {
        match &mut self.kind {
            Kind::Sum(sum) => {
                *sum = sum.plus(value);
                None
            }
            Kind::Histogram(histogram) => histogram.add(value.real()),
            Kind::Exponential(histogram) => histogram.add(value.real()),
        }
    }

    /// Keep an exemplar, unless the bucket has got one meanwhile.
    pub fn keep(&mut self, bucket: i64, exemplar: Exemplar) {
        match &mut self.kind {
            Kind::Sum(_) => {}
            Kind::Histogram(histogram) => {
                histogram.exemplars[bucket as usize].get_or_insert(exemplar);
            }
            Kind::Exponential(histogram) => {
                histogram.exemplars.entry(bucket).or_insert(exemplar);
            }
        }
    }

    /// What it holds now. The exemplars begin anew each time.
    pub fn read(&mut self) -> Reading {
        let mut reading = self.look();
        match (&mut self.kind, &mut reading) {
            (Kind::Histogram(histogram), Reading::Histogram { exemplars, .. }) => {
                let kept = histogram.exemplars.iter_mut();
                *exemplars = kept.filter_map(Option::take).collect();
                if self.delta {
                    histogram.reset();
                }
            }
            (Kind::Exponential(histogram), Reading::Exponential { exemplars, .. }) => {
                *exemplars = mem::take(&mut histogram.exemplars).into_values().collect();
                if self.delta {
                    histogram.reset();
                }
            }
            (Kind::Sum(sum), _) if self.delta => *sum = Number::Whole(0),
            _ => {}
        }
        reading
    }

    /// What it holds now, without exemplars. Nothing begins anew.
    pub fn look(&self) -> Reading {
        match &self.kind {
            Kind::Sum(sum) => Reading::Sum(*sum),
            Kind::Histogram(histogram) => Reading::Histogram {
                counts: histogram.counts.clone(),
                range: histogram.range,
                exemplars: Vec::new(),
            },
            Kind::Exponential(histogram) => Reading::Exponential {
                scale: histogram.scale,
                zeros: histogram.zeros,
                offset: histogram.counts.first_key_value().map_or(0, |(at, _)| *at),
                counts: dense(&histogram.counts),
                range: histogram.range,
                exemplars: Vec::new(),
            },
        }
    }
}

fn dense(counts: &BTreeMap<i64, u64>) -> Vec<u64> {
    let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value())
    else {
        return Vec::new();
    };
    (*first..=*last)
        .map(|at| counts.get(&at).copied().unwrap_or(0))
        .collect()
}

/// A copy of what a cell held at one moment.
pub enum Reading {
    Sum(Number),
    Histogram {
        counts: Vec<u64>,
        range: Range,
        exemplars: Vec<Exemplar>,
    },
    Exponential {
        scale: i32,
        zeros: u64,
        offset: i64,
        counts: Vec<u64>,
        range: Range,
        exemplars: Vec<Exemplar>,
    },
}
