//! The units of jobs, and those of users' own code, in the shortest way.
//!
//! They are calls of `Span` and of cells, and nothing more. What few of them need (an
//! error, an event, a sampler that drops the span) is done by the classes in Python that
//! have the same interface, `spanrun.telemetry.units.job` and `.unit`.

use std::sync::{Mutex, OnceLock};

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString, PyTuple};

use crate::cells::JobCells;
use crate::encode::Value;
use crate::fill;
use crate::lock;
use crate::names::names;
use crate::scope::Scope;
use crate::span::Span;
use crate::start::{self, Started};
use crate::texts::{self, Key};
use crate::{api, end};

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
const OUTCOME: &str = "spanrun.unit.outcome";

/// Keys that were looked at once.
fn keys() -> &'static [Key<'static>] {
    static KEYS: OnceLock<Vec<Key<'static>>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let all = ATTRIBUTES.iter().chain(&[NUMBER, OUTCOME]);
        all.map(|text| texts::key(text)).collect()
    })
}

/// Start a span; None where a sampler gave something else.
fn started<'py>(
    scope: &Bound<'py, Scope>,
    name: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
    begun: f64,
    attributes: Option<&Bound<'py, PyAny>>,
    links: Option<&Bound<'py, PyAny>>,
    anchored: Option<&Bound<'py, Span>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = intern_zero(scope.py());
    let begins = Started {
        name,
        kind: &kind,
        begun: Some(begun),
        attributes,
        links,
        start_ns: None,
        anchored,
    };
    start::start(scope, &begins, context)
}

fn intern_zero(py: Python<'_>) -> Bound<'_, PyAny> {
    0_u8.into_pyobject(py).map_or_else(
        |never| match never {},
        |number| number.into_any(), // SpanKind.INTERNAL
    )
}

/// Make `outside` current again, unless something else than `context` is by now.
fn leave(context: &Bound<'_, PyAny>, outside: &Bound<'_, PyAny>) -> PyResult<()> {
    let names = names(context.py())?;
    let now = names.current.bind(context.py()).call0()?;
    if now.is(context) {
        let open = start::open_context(outside)?;
        names.make_current.bind(context.py()).call1((open,))?;
    }
    Ok(())
}

/// What the jobs of a run have in common: see `JobKind`.
#[pyclass(frozen, module = "spanrun._core")]
pub struct Jobs {
    scope: Py<Scope>,
    job_name: Py<PyString>,
    attempt_name: Py<PyString>,
    runner: Box<str>,
    linked: Option<(Py<PyAny>, Py<PyAny>, Py<Span>)>,
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
            timed,
            cells,
            kind,
            unit,
        }
    }

    /// Open the unit of a job, and make its span the current one.
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
            job.getattr(intern!(py, "submitted"))?.extract()?
        } else {
            scope.get().reading(py)?
        };
        let names = names(py)?;
        let name = this.job_name.bind(py).as_any();
        let (outside, told) = match &this.linked {
            Some((outside, links, run)) => {
                let (outside, links) = (outside.bind(py).clone(), Some(links.bind(py)));
                let run = Some(run.bind(py));
                let given = given.as_ref();
                let told = started(scope, name, &outside, submitted, given, links, run)?;
                (outside, told)
            }
            None => {
                let outside = names.current.bind(py).call0()?;
                let given = given.as_ref();
                let told = started(scope, name, &outside, submitted, given, None, None)?;
                (outside, told)
            }
        };
        let Ok(span) = told.cast::<Span>() else {
            return this.in_python(py, (&this.kind, job, told));
        };
        let context = api::inside(span, &outside, None)?;
        names.make_current.bind(py).call1((&context,))?;
        let unit = JobUnit {
            jobs: slf.clone().unbind(),
            index: job.getattr(intern!(py, "index"))?.extract()?,
            submitted,
            told: span.clone().unbind(),
            context: context.unbind(),
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
#[pyclass(frozen, module = "spanrun._core")]
pub struct JobUnit {
    jobs: Py<Jobs>,
    #[pyo3(get)]
    index: i64,
    #[pyo3(get)]
    submitted: f64,
    #[pyo3(get)]
    told: Py<Span>,
    context: Py<PyAny>,
    attempt: Mutex<Option<(Py<Span>, Py<PyAny>)>>,
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
            let mut keys = keys().iter();
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
        let scope = jobs.scope.bind(py);
        let begun = scope.get().reading(py)?;
        let context = self.context.bind(py);
        let given = PyDict::new(py);
        given.set_item(intern!(py, "spanrun.runner.name"), &*jobs.runner)?;
        given.set_item(intern!(py, "spanrun.attempt.number"), number)?;
        let name = jobs.attempt_name.bind(py).as_any();
        let given = Some(given.as_any());
        let told = started(scope, name, context, begun, given, None, None)?;
        let span = told.cast_into::<Span>()?;
        let inner = api::inside(&span, context, Some(number))?;
        names(py)?.make_current.bind(py).call1((&inner,))?;
        let before = lock(&self.attempt).replace((span.unbind(), inner.unbind()));
        drop(before);
        Ok(())
    }

    /// End the attempt's span, by `error` if there is one.
    fn end_attempt(&self, _number: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        let Some((span, inner)) = lock(&self.attempt).take() else {
            return Ok(());
        };
        let jobs = self.jobs.get();
        leave(inner.bind(py), self.context.bind(py))?;
        let ended = jobs.scope.get().reading(py)?;
        if error.is_instance_of::<PyException>() {
            let kind = jobs.kind.bind(py);
            kind.call_method1(intern!(py, "fail"), (&span, error, ended))?;
        }
        let at = span.get().trace.wall(ended);
        end::end(span.bind(py), at)
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

/// A unit of a user's own code: see `UserUnit` in Python.
#[pyclass(frozen, module = "spanrun._core")]
pub struct UserUnit {
    recorder: Py<PyAny>,
    name: Py<PyString>,
    outside: Py<PyAny>,
    #[pyo3(get)]
    told: Py<Span>,
    #[pyo3(get)]
    context: Py<PyAny>,
    #[pyo3(get)]
    started: f64,
}

#[pymethods]
impl UserUnit {
    /// Open one below the current span, and make its span the current one.
    ///
    /// `unit` is the class in Python, for a span that a sampler has dropped.
    #[staticmethod]
    fn open<'py>(
        recorder: &Bound<'py, PyAny>,
        scope: &Bound<'py, Scope>,
        unit: &Bound<'py, PyAny>,
        name: &Bound<'py, PyString>,
        attributes: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = scope.py();
        let names = names(py)?;
        let begun = scope.get().reading(py)?;
        let outside = names.current.bind(py).call0()?;
        let given = Some(attributes.as_any());
        let told = started(scope, name.as_any(), &outside, begun, given, None, None)?;
        let Ok(span) = told.cast::<Span>() else {
            return unit.call1((recorder, name, attributes, told));
        };
        let context = api::inside(span, &outside, None)?;
        names.make_current.bind(py).call1((&context,))?;
        let unit = UserUnit {
            recorder: recorder.clone().unbind(),
            name: name.clone().unbind(),
            outside: outside.unbind(),
            told: span.clone().unbind(),
            context: context.unbind(),
            started: begun,
        };
        start::untracked(py, unit).map(Bound::into_any)
    }

    /// OpenTelemetry's span.
    #[getter]
    fn span(&self, py: Python<'_>) -> Py<Span> {
        self.told.clone_ref(py)
    }

    #[getter]
    fn trace_id(&self) -> u128 {
        self.told.get().trace.id
    }

    /// Set an attribute of the span; a text is redacted and cut.
    fn set(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.told.get().set("set", key, value)
    }

    /// Add an event to the span, at this moment.
    #[pyo3(signature = (name, **attributes))]
    fn event(
        &self,
        name: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let given = attributes.map(Bound::as_any);
        self.told.get().event(name, given)
    }

    /// Make the span outside current again, end this one, by `error`, and count it.
    fn close(slf: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        leave(this.context.bind(py), this.outside.bind(py))?;
        let recorder = this.recorder.bind(py);
        if !error.is_none() {
            recorder.call_method1(intern!(py, "fail_unit"), (slf, &this.name, error))?;
            return Ok(());
        }
        let span = this.told.bind(py);
        let scope = span.get().scope.get();
        let ended = scope.reading(py)?;
        if let Some(key) = keys().last() {
            span.get().change(py, "set", |record| {
                fill::set(record, scope, key, Value::Text("ok"));
            })?;
        }
        end::end(span, span.get().trace.wall(ended))?;
        let series = recorder.getattr(intern!(py, "unit_series"))?;
        let seconds = ended - this.started;
        let cell = match series.cast::<PyDict>()?.get_item(&this.name)? {
            Some(cell) => cell,
            None => recorder.call_method1(intern!(py, "series_of_unit"), (&this.name,))?,
        };
        cell.call_method1(intern!(py, "add"), (seconds, span))?;
        Ok(())
    }
}
