//! Cells: each holds one series of a metric. The cells of a `Group` share one lock, so
//! what is read of them belongs together.
//!
//! The lock is never held while Python code can run: what a cell holds has no Python
//! objects in it (see `state`), and a span is asked for its trace before or after.

mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyTuple};

pub use state::Number;
use state::{Exemplar, Exponential, Histogram as Buckets, Kind, Range, Reading, State};

impl<'py> FromPyObject<'_, 'py> for Number {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyInt>()
            && let Ok(whole) = value.extract()
        {
            return Ok(Number::Whole(whole));
        }
        Ok(Number::Real(value.extract()?))
    }
}

/// Series that are added to, and read, under one lock.
#[pyclass(frozen, module = "spanrun._core")]
pub struct Group {
    cells: Mutex<Vec<State>>,
    pin: Option<Py<PyAny>>,
    exemplars: bool,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, kind: Kind, delta: bool) -> usize {
        let mut cells = self.lock();
        cells.push(State { kind, delta });
        cells.len() - 1
    }

    /// Make an exemplar of a measurement, if the trace of `span` is kept.
    fn offer(&self, cell: usize, bucket: i64, value: f64, span: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.exemplars {
            return Ok(());
        }
        let Some((trace_id, span_id)) = self.kept(span)? else {
            return Ok(());
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let exemplar = Exemplar {
            value,
            when: since.map_or(0, |since| since.as_nanos() as i64),
            trace_id,
            span_id,
        };
        self.lock()[cell].keep(bucket, exemplar);
        Ok(())
    }

    /// The ids of a span whose trace is sampled, or kept because we ask for it.
    fn kept(&self, span: &Bound<'_, PyAny>) -> PyResult<Option<(u128, u64)>> {
        let py = span.py();
        if let Some(pin) = span.getattr_opt(intern!(py, "pin"))? {
            if !pin.call0()?.is_truthy()? {
                return Ok(None);
            }
            let trace_id = span.getattr(intern!(py, "trace_id"))?.extract()?;
            let span_id = span.getattr(intern!(py, "span_id"))?.extract()?;
            return Ok(Some((trace_id, span_id)));
        }
        let context = span.call_method0(intern!(py, "get_span_context"))?;
        let flags = context.getattr(intern!(py, "trace_flags"))?;
        let sampled = flags.getattr(intern!(py, "sampled"))?.is_truthy()?;
        let kept = match &self.pin {
            Some(pin) if !sampled => pin.bind(py).call1((&context,))?.is_truthy()?,
            _ => sampled,
        };
        if !kept {
            return Ok(None);
        }
        let trace_id = context.getattr(intern!(py, "trace_id"))?.extract()?;
        let span_id = context.getattr(intern!(py, "span_id"))?.extract()?;
        Ok(Some((trace_id, span_id)))
    }
}

#[pymethods]
impl Group {
    #[new]
    #[pyo3(signature = (pin=None, *, exemplars=true))]
    fn new(pin: Option<Py<PyAny>>, exemplars: bool) -> Self {
        Group {
            cells: Mutex::new(Vec::new()),
            pin,
            exemplars,
        }
    }

    /// What some cells hold, all at one moment. With `peek` there are no exemplars, and
    /// nothing begins anew.
    #[pyo3(signature = (cells, *, peek=false))]
    fn read<'py>(
        this: &Bound<'py, Self>,
        cells: Vec<Bound<'py, Cell>>,
        peek: bool,
    ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        for cell in &cells {
            of(this, cell)?;
        }
        let readings: Vec<Reading> = {
            let mut states = this.get().lock();
            let at = cells.iter().map(|cell| cell.get().at);
            if peek {
                at.map(|at| states[at].look()).collect()
            } else {
                at.map(|at| states[at].read()).collect()
            }
        };
        let given = readings.into_iter();
        given.map(|reading| plain(this.py(), reading)).collect()
    }

    /// In a child process. Whoever holds the lock also holds the interpreter's, as does
    /// whoever forks: so nobody held it.
    fn after_fork(&self) {}
}

/// A reading as plain values.
fn plain(py: Python<'_>, reading: Reading) -> PyResult<Bound<'_, PyTuple>> {
    match reading {
        Reading::Sum(Number::Whole(value)) => (value,).into_pyobject(py),
        Reading::Sum(Number::Real(value)) => (value,).into_pyobject(py),
        Reading::Histogram {
            counts,
            range,
            exemplars,
        } => {
            let counts = PyTuple::new(py, counts)?;
            let Range {
                sum,
                least,
                greatest,
            } = range;
            (counts, sum, least, greatest, of_traces(exemplars)).into_pyobject(py)
        }
        Reading::Exponential {
            scale,
            zeros,
            offset,
            counts,
            range,
            exemplars,
        } => {
            let counts = PyTuple::new(py, counts)?;
            let Range {
                sum,
                least,
                greatest,
            } = range;
            let shape = (scale, zeros, offset);
            (shape, counts, sum, least, greatest, of_traces(exemplars)).into_pyobject(py)
        }
    }
}

fn of_traces(exemplars: Vec<Exemplar>) -> Vec<(f64, i64, u128, u64)> {
    let each = exemplars.into_iter();
    each.map(|one| (one.value, one.when, one.trace_id, one.span_id))
        .collect()
}

/// The place of `cell` in `group`, in which it must be.
fn of(group: &Bound<'_, Group>, cell: &Bound<'_, Cell>) -> PyResult<usize> {
    if cell.get().group.is(group) {
        return Ok(cell.get().at);
    }
    Err(PyValueError::new_err("the cell is in another group"))
}

/// One series. The base of the kinds of cells.
#[pyclass(frozen, subclass, module = "spanrun._core")]
pub struct Cell {
    #[pyo3(get)]
    labels: Py<PyAny>,
    group: Py<Group>,
    at: usize,
}

impl Cell {
    fn of(labels: Py<PyAny>, group: Bound<'_, Group>, kind: Kind, delta: bool) -> Self {
        let at = group.get().append(kind, delta);
        Cell {
            labels,
            group: group.unbind(),
            at,
        }
    }
}

#[pymethods]
impl Cell {
    /// Add a measurement; `span` may become the exemplar of its bucket.
    #[pyo3(signature = (value, span=None))]
    pub fn add(&self, value: Number, span: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let group = self.group.get();
        let bucket = group.lock()[self.at].add(value);
        match (bucket, span) {
            (Some(bucket), Some(span)) => group.offer(self.at, bucket, value.real(), span),
            _ => Ok(()),
        }
    }
}

/// The running total of a counter, or of an up-down-counter.
#[pyclass(frozen, extends = Cell, module = "spanrun._core")]
pub struct Sum;

#[pymethods]
impl Sum {
    #[new]
    #[pyo3(signature = (labels, group, delta=false))]
    fn new(labels: Py<PyAny>, group: Bound<'_, Group>, delta: bool) -> PyClassInitializer<Self> {
        let kind = Kind::Sum(Number::Whole(0));
        PyClassInitializer::from(Cell::of(labels, group, kind, delta)).add_subclass(Sum)
    }
}

/// Counts in buckets with explicit bounds.
#[pyclass(frozen, extends = Cell, module = "spanrun._core")]
pub struct Histogram;

#[pymethods]
impl Histogram {
    #[new]
    #[pyo3(signature = (labels, bounds, group, delta=false))]
    fn new(
        labels: Py<PyAny>,
        bounds: Vec<f64>,
        group: Bound<'_, Group>,
        delta: bool,
    ) -> PyClassInitializer<Self> {
        let kind = Kind::Histogram(Buckets::new(bounds));
        PyClassInitializer::from(Cell::of(labels, group, kind, delta)).add_subclass(Histogram)
    }
}

/// Counts in exponential buckets, whose number stays bounded.
#[pyclass(frozen, extends = Cell, module = "spanrun._core")]
pub struct ExponentialHistogram;

#[pymethods]
impl ExponentialHistogram {
    #[new]
    #[pyo3(signature = (labels, group, delta=false))]
    fn new(labels: Py<PyAny>, group: Bound<'_, Group>, delta: bool) -> PyClassInitializer<Self> {
        let kind = Kind::Exponential(Exponential::new());
        PyClassInitializer::from(Cell::of(labels, group, kind, delta))
            .add_subclass(ExponentialHistogram)
    }
}

/// The series in which a job is counted, all of them at once.
#[pyclass(frozen, module = "spanrun._core")]
pub struct JobCells {
    group: Py<Group>,
    counter: usize,
    duration: usize,
    phases: Vec<usize>,
}

#[pymethods]
impl JobCells {
    #[new]
    fn new(
        group: Bound<'_, Group>,
        count: Bound<'_, Cell>,
        duration: Bound<'_, Cell>,
        phases: Vec<Bound<'_, Cell>>,
    ) -> PyResult<Self> {
        Ok(JobCells {
            counter: of(&group, &count)?,
            duration: of(&group, &duration)?,
            phases: phases
                .iter()
                .map(|cell| of(&group, cell))
                .collect::<PyResult<_>>()?,
            group: group.unbind(),
        })
    }

    /// Count a job that took `seconds`, and in each phase one of `parts`.
    #[pyo3(signature = (seconds, parts, span=None))]
    fn add(
        &self,
        seconds: f64,
        parts: &Bound<'_, PyTuple>,
        span: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        const MOST: usize = 16;
        let mut given = [0.0; MOST];
        if parts.len() != self.phases.len() || parts.len() > MOST {
            return Err(PyValueError::new_err("not as many parts as phases"));
        }
        for (place, part) in given.iter_mut().zip(parts.iter_borrowed()) {
            *place = match part.cast::<PyFloat>() {
                Ok(part) => part.value(),
                Err(_) => part.extract()?,
            };
        }
        self.count(seconds, &given, span)
    }
}

impl JobCells {
    /// Count a job that took `seconds`, and in each phase one of `parts`.
    pub fn count(
        &self,
        seconds: f64,
        parts: &[f64],
        span: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let group = self.group.get();
        let bucket = {
            let mut cells = group.lock();
            cells[self.counter].add(Number::Whole(1));
            for (phase, part) in self.phases.iter().zip(parts) {
                if *part != 0.0 {
                    cells[*phase].add(Number::Real(*part));
                }
            }
            cells[self.duration].add(Number::Real(seconds))
        };
        match (bucket, span) {
            (Some(bucket), Some(span)) => group.offer(self.duration, bucket, seconds, span),
            _ => Ok(()),
        }
    }
}
