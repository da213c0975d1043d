//! `Jobs` and `JobUnit`: the units of jobs.

use std::sync::{Mutex, OnceLock};

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString, PyTuple};

use super::leave;
use crate::cells::JobCells;
use crate::encode::Value;
use crate::fill;
use crate::lock;
use crate::names::names;
use crate::record::Record;
use crate::scope::Scope;
use crate::span::Span;
use crate::start::{self, Started};
use crate::texts::{self, Key};
use crate::{context, end};

const ATTRIBUTES: [&str; 11] = [
    "spanrun.runner.name",
    "spanrun.job.outcome",
    "spanrun.job.attempts",
    "spanrun.job.index",
    "spanrun.job.time.queue",
    "spanrun.job.time.limit",
    "spanrun.job.time.rate_limit",
    "spanrun.job.time.backoff",
    "spanrun.job.time.busy",
    "spanrun.job.time.loop_lag",
    "spanrun.job.time.service",
];
const NUMBER: &str = "spanrun.attempt.number";

/// Keys that were looked at once.
struct Keys {
    job: [Key<'static>; 11],
    attempt: [Key<'static>; 2],
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        job: ATTRIBUTES.map(texts::key),
        attempt: [ATTRIBUTES[0], NUMBER].map(texts::key),
    })
}

/// What the jobs of a run have in common: see `JobKind`.
#[pyclass(frozen, module = "spanrun._core")]
pub struct Jobs {
    scope: Py<Scope>,
    job_name: Py<PyString>,
    attempt_name: Py<PyString>,
    runner: Box<str>,
    linked: Option<(Py<PyAny>, Py<PyAny>, Py<Span>)>,
    attempts: bool,
    timed: bool,
    cells: Py<JobCells>,
    kind: Py<PyAny>,
    unit: Py<PyAny>,
}

#[pymethods]
impl Jobs {
    #[new]
    #[allow(clippy::too_many_arguments)] // it is called once a run
    fn new(
        scope: Py<Scope>,
        job_name: Py<PyString>,
        attempt_name: Py<PyString>,
        runner: &str,
        linked: Option<(Py<PyAny>, Py<PyAny>, Py<Span>)>,
        attempts: bool,
        timed: bool,
        cells: Py<JobCells>,
        kind: Py<PyAny>,
        unit: Py<PyAny>,
    ) -> Self {
        Jobs {
            scope,
            job_name,
            attempt_name,
            runner: runner.into(),
            linked,
            attempts,
            timed,
            cells,
            kind,
            unit,
        }
    }

    /// Open the unit of a job. Its span becomes the current one, unless each attempt has
    /// a span: no code of the user's runs outside of those.
    fn open<'py>(slf: &Bound<'py, Self>, job: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let key = job.getattr(intern!(py, "key"))?;
        let given = if key.is_none() {
            None
        } else {
            let attributes = PyDict::new(py);
            let text = match key.cast_exact::<PyString>() {
                Ok(_) => key,
                Err(_) => this
                    .kind
                    .bind(py)
                    .call_method1(intern!(py, "text_of"), (key,))?,
            };
            attributes.set_item(intern!(py, "spanrun.job.key"), text)?;
            Some(attributes.into_any())
        };
        let scope = this.scope.bind(py);
        let submitted = if this.timed {
            let timings = job.getattr(intern!(py, "timings"))?;
            timings.getattr(intern!(py, "submitted"))?.extract()?
        } else {
            scope.get().reading(py)?
        };
        let names = names(py)?;
        let name = this.job_name.bind(py).as_any();
        let begins = Started {
            attributes: given.as_ref(),
            ..Started::new(name, submitted)
        };
        let (outside, told) = match &this.linked {
            Some((outside, links, run)) => {
                let outside = outside.bind(py).clone();
                let begins = Started {
                    links: Some(links.bind(py)),
                    anchored: Some(run.bind(py)),
                    ..begins
                };
                let told = start::start(scope, &begins, &outside)?;
                (outside, told)
            }
            None => {
                let outside = names.current.bind(py).call0()?;
                let told = start::start(scope, &begins, &outside)?;
                (outside, told)
            }
        };
        let Ok(span) = told.cast::<Span>() else {
            return this.in_python(py, (&this.kind, job, told));
        };
        if !this.attempts {
            let context = context::inside(span, &outside, None)?;
            names.make_current.bind(py).call1((context,))?;
        }
        let unit = JobUnit {
            jobs: slf.clone().unbind(),
            index: job.getattr(intern!(py, "index"))?.extract()?,
            submitted,
            told: span.clone().unbind(),
            outside: outside.unbind(),
            attempt: Mutex::new(None),
        };
        start::untracked(py, unit).map(Bound::into_any)
    }
}

impl Jobs {
    fn in_python<'py>(
        &self,
        py: Python<'py>,
        given: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.unit.bind(py).call1(given)
    }
}

/// A job's span and metrics, and its attempts' spans: see `JobUnit` in Python.
#[pyclass(frozen, freelist = 256, module = "spanrun._core")]
pub struct JobUnit {
    jobs: Py<Jobs>,
    #[pyo3(get)]
    index: i64,
    #[pyo3(get)]
    submitted: f64,
    #[pyo3(get)]
    told: Py<Span>,
    outside: Py<PyAny>,
    /// The one that is open, and its context.
    attempt: Mutex<Option<(Py<PyAny>, Py<PyAny>)>>,
}

impl JobUnit {
    /// Call a method of the class in Python with this as the instance.
    fn by_python<'py>(
        slf: &Bound<'py, Self>,
        method: &Bound<'py, PyString>,
        given: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let unit = slf.get().jobs.get().unit.bind(py);
        let mut all = vec![slf.clone().into_any()];
        all.extend(given.iter());
        unit.getattr(method)?.call(PyTuple::new(py, all)?, named)
    }

    fn write(&self, py: Python<'_>, attempts: i64, parts: &Bound<'_, PyTuple>) -> PyResult<()> {
        let span = self.told.get();
        let scope = span.scope.get();
        let jobs = self.jobs.get();
        let mut seconds = [0.0; 7];
        for (place, part) in seconds.iter_mut().zip(parts.iter_borrowed()) {
            *place = match part.cast::<PyFloat>() {
                Ok(part) => part.value(),
                Err(_) => part.extract()?,
            };
        }
        span.change(py, "set_attributes", |record| {
            record.attributes.reserve(ATTRIBUTES.len() + 1);
            let mut keys = keys().job.iter();
            let values = [
                Value::Text(&jobs.runner),
                Value::Text("ok"),
                Value::Int(attempts),
                Value::Int(self.index),
            ];
            let numbers = seconds.into_iter().map(Value::Double);
            for (key, value) in (&mut keys).zip(values.into_iter().chain(numbers)) {
                fill::set(record, scope, key, value);
            }
        })?;
        Ok(())
    }
}

#[pymethods]
impl JobUnit {
    /// What it has in common with the other jobs of its run.
    #[getter]
    fn kind(&self, py: Python<'_>) -> Py<PyAny> {
        self.jobs.get().kind.clone_ref(py)
    }

    #[getter]
    fn trace_id(&self) -> u128 {
        self.told.get().trace.id
    }

    /// Open the span of an attempt, from 1, and make it the current one.
    fn begin_attempt(&self, number: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = number.py();
        let jobs = self.jobs.get();
        let outside = self.outside.bind(py);
        let scope = jobs.scope.bind(py);
        let begun = scope.get().reading(py)?;
        let name = jobs.attempt_name.bind(py).as_any();
        let mut record = Record::new(fill::name(scope.get(), name)?);
        record.attributes.reserve(3);
        let values = [Value::Text(&jobs.runner), Value::Int(number.extract()?)];
        for (key, value) in keys().attempt.iter().zip(values) {
            fill::set(&mut record, scope.get(), key, value);
        }
        let (told, inner) = match start::child(scope, self.told.bind(py), begun, record, outside)? {
            Some(span) => {
                let inner = context::inside(&span, outside, Some(number))?;
                (span.into_any(), inner)
            }
            None => {
                let kind = jobs.kind.bind(py);
                let context = context::inside(self.told.bind(py), outside, None)?;
                let given = (context, begun, number);
                kind.call_method1(intern!(py, "open_attempt"), given)?
                    .extract()?
            }
        };
        names(py)?.make_current.bind(py).call1((&inner,))?;
        let before = lock(&self.attempt).replace((told.unbind(), inner.unbind()));
        drop(before);
        Ok(())
    }

    /// End the attempt's span, by `error` if there is one.
    ///
    /// After the last one nothing of the user's runs in the job: only what may be
    /// followed by another attempt makes the job's span the current one.
    fn end_attempt(&self, _number: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        let Some((told, inner)) = lock(&self.attempt).take() else {
            return Ok(());
        };
        let jobs = self.jobs.get();
        if !error.is_none() {
            // Also for what the attempt has started, and still runs.
            let context = context::inside(self.told.bind(py), self.outside.bind(py), None)?;
            let inner = inner.bind(py);
            inner
                .cast::<PyDict>()?
                .set_item(names(py)?.outside.bind(py), (&told, &context))?;
            leave(inner, &context)?;
        }
        let ended = jobs.scope.get().reading(py)?;
        if error.is_instance_of::<PyException>() {
            let kind = jobs.kind.bind(py);
            kind.call_method1(intern!(py, "fail"), (&told, error, ended))?;
        }
        match told.bind(py).cast::<Span>() {
            Ok(span) => end::end(span, span.get().trace.wall(ended)),
            Err(_) => told
                .call_method1(py, intern!(py, "finish"), (ended,))
                .map(drop),
        }
    }

    /// The job has its value: end its span, and count it.
    fn succeed(&self, timings: &Bound<'_, PyAny>, attempts: i64) -> PyResult<()> {
        let py = timings.py();
        let parts = timings.call_method0(intern!(py, "parts"))?;
        let parts = parts.cast::<PyTuple>()?;
        let seconds: f64 = timings.getattr(intern!(py, "duration"))?.extract()?;
        self.write(py, attempts, parts)?;
        let jobs = self.jobs.get();
        let ended = if jobs.timed {
            self.submitted + seconds
        } else {
            jobs.scope.get().reading(py)?
        };
        let span = self.told.bind(py);
        end::end(span, span.get().trace.wall(ended))?;
        jobs.cells.get().add(seconds, parts, Some(span.as_any()))
    }

    #[pyo3(signature = (*given, **named))]
    fn conclude<'py>(
        slf: &Bound<'py, Self>,
        given: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::by_python(slf, intern!(slf.py(), "conclude"), given, named)
    }

    #[pyo3(signature = (*given, **named))]
    fn event<'py>(
        slf: &Bound<'py, Self>,
        given: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::by_python(slf, intern!(slf.py(), "event"), given, named)
    }

    #[pyo3(signature = (*given, **named))]
    fn retried<'py>(
        slf: &Bound<'py, Self>,
        given: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::by_python(slf, intern!(slf.py(), "retried"), given, named)
    }

    #[pyo3(signature = (*given, **named))]
    fn hedged<'py>(
        slf: &Bound<'py, Self>,
        given: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::by_python(slf, intern!(slf.py(), "hedged"), given, named)
    }
}
