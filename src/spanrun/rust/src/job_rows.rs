//! `JobRows`: jobs that have ended, until the local store takes them.
//!
//! What a row is, `telemetry/recordings/jobs.py` says, which has the fallback.

use std::collections::VecDeque;
use std::sync::Mutex;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyIndexError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};

use crate::columns::Table;
use crate::lock;
use crate::units::timings::Numbers;

const RUN: usize = 16;
const WIDTH: usize = RUN + 8 * 10 + 5 + 16;

type Texts = Py<PyAny>;

#[derive(Default)]
struct Waiting {
    rows: Vec<u8>,
    /// Of few rows, each with the number of its row since the beginning.
    texts: VecDeque<(usize, Texts)>,
    /// How many rows were taken.
    taken: usize,
}

/// Rows of jobs that have ended.
#[pyclass(frozen, module = "spanrun._core")]
pub struct JobRows {
    success: Py<PyType>,
    number: u8,
    describe: Py<PyAny>,
    waiting: Mutex<Waiting>,
}

impl Waiting {
    fn count(&self) -> usize {
        self.rows.len() / WIDTH
    }
}

#[pymethods]
impl JobRows {
    #[new]
    fn new(success: Py<PyType>, number: u8, describe: Py<PyAny>) -> Self {
        JobRows {
            success,
            number,
            describe,
            waiting: Mutex::default(),
        }
    }

    /// Add the row of a job of `run` that has this `outcome`.
    fn add(&self, run: &Bound<'_, PyAny>, outcome: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = run.py();
        let key = outcome.getattr(intern!(py, "key"))?;
        let (number, texts) = if key.is_none() && outcome.get_type().is(&self.success) {
            (self.number, None)
        } else {
            let described = self.describe.call1(py, (outcome,))?;
            described.extract::<(u8, Option<Texts>)>(py)?
        };
        let timings = outcome.getattr(intern!(py, "timings"))?;
        let opened: f64 = run.getattr(intern!(py, "opened"))?.extract()?;
        let Numbers {
            parts,
            duration,
            submitted,
        } = Numbers::of(&timings)?;
        let index: i64 = outcome.getattr(intern!(py, "index"))?.extract()?;
        let attempts: u32 = outcome.getattr(intern!(py, "attempts"))?.extract()?;
        let trace: u128 = outcome.getattr(intern!(py, "trace_id"))?.extract()?;
        let id = run.getattr(intern!(py, "id"))?;
        let id = id.cast::<PyString>()?.to_cow()?;
        let mut waiting = lock(&self.waiting);
        if texts.is_some() {
            let place = waiting.taken + waiting.count();
            waiting.texts.extend(texts.map(|texts| (place, texts)));
        }
        let rows = &mut waiting.rows;
        let id = &id.as_bytes()[..id.len().min(RUN)];
        rows.extend_from_slice(id);
        rows.extend_from_slice(&[0; RUN][id.len()..]);
        rows.extend_from_slice(&index.to_le_bytes());
        for seconds in [submitted - opened, duration].into_iter().chain(parts) {
            rows.extend_from_slice(&seconds.to_le_bytes());
        }
        rows.extend_from_slice(&attempts.to_le_bytes());
        rows.push(number);
        rows.extend_from_slice(&trace.to_be_bytes());
        Ok(())
    }

    /// Take the first rows, at most so many, and the texts of some, each with the number
    /// of its row.
    fn take<'py>(
        &self,
        py: Python<'py>,
        most: usize,
    ) -> (Bound<'py, PyBytes>, Vec<(usize, Texts)>) {
        let mut waiting = lock(&self.waiting);
        let count = most.min(waiting.count());
        let rest = waiting.rows.split_off(count * WIDTH);
        let rows = std::mem::replace(&mut waiting.rows, rest);
        let first = waiting.taken;
        waiting.taken += count;
        let some = waiting
            .texts
            .partition_point(|(place, _)| *place < first + count);
        let texts: Vec<_> = waiting.texts.drain(..some).collect();
        drop(waiting);
        let texts = texts.into_iter().map(|(place, each)| (place - first, each));
        (PyBytes::new(py, &rows), texts.collect())
    }

    /// Drop the newest row.
    fn pop(&self) -> PyResult<()> {
        let mut waiting = lock(&self.waiting);
        let Some(left) = waiting.count().checked_sub(1) else {
            return Err(PyIndexError::new_err("no row waits"));
        };
        waiting.rows.truncate(left * WIDTH);
        let newest = waiting.taken + left;
        let has_texts = waiting
            .texts
            .back()
            .is_some_and(|(place, _)| *place == newest);
        let dropped = has_texts.then(|| waiting.texts.pop_back());
        drop(waiting);
        drop(dropped); // not while the lock is held
        Ok(())
    }

    /// Drop all rows.
    fn clear(&self) {
        let dropped = std::mem::take(&mut *lock(&self.waiting));
        drop(dropped); // not while the lock is held
    }

    fn __len__(&self) -> usize {
        lock(&self.waiting).count()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.describe)
    }
}

/// Rows of one width, as a table: what is to be compressed, and what is random.
#[pyfunction]
pub fn pack_rows<'py>(
    py: Python<'py>,
    rows: &[u8],
    width: usize,
    used: usize,
) -> (Bound<'py, PyBytes>, Bound<'py, PyBytes>) {
    let table = py.detach(|| {
        let mut table = Table::default();
        let rows: Vec<&[u8]> = rows
            .chunks_exact(width.max(1))
            .map(|row| &row[..used.min(row.len())])
            .collect();
        table.add(&rows, &[]);
        table
    });
    (
        PyBytes::new(py, &table.plain),
        PyBytes::new(py, &table.random),
    )
}
