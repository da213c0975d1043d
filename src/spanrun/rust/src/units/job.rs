//! `Jobs` and `JobUnit`: the units of jobs.

use std::sync::{Arc, Mutex};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyException;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::attempt::Attempt;
use super::job_attributes::{Blocks, keys};
use super::leave;
use super::timings::{Numbers, PHASES, largest};
use crate::cells::JobCells;
use crate::encode::Value;
use crate::fill;
use crate::local::Role;
use crate::lock;
use crate::names::names;
use crate::record::Record;
use crate::scope::Scope;
use crate::slowness::Slowness;
use crate::span::Span;
use crate::start::{self, Started};
use crate::{context, end};

const CANCELLED_BY: &str = "spanrun.job.cancelled_by";

/// What the jobs of a run have in common: see `JobKind`.
#[pyclass(frozen, module = "spanrun._core")]
pub struct Jobs {
    scope: Py<Scope>,
    job_name: Py<PyString>,
    /// The names of both kinds of spans, as they are shown.
    job_shown: Arc<str>,
    attempt_shown: Arc<str>,
    runner: Box<str>,
    run_id: Box<str>,
    blocks: Blocks,
    linked: Option<(Py<PyAny>, Py<PyAny>, Py<Span>)>,
    attempts: bool,
    timed: bool,
    cells: Py<JobCells>,
    slowness: Py<Slowness>,
    kind: Py<PyAny>,
    unit: Py<PyAny>,
}

#[pymethods]
impl Jobs {
    #[new]
    #[allow(clippy::too_many_arguments)] // it is called once a run
    fn new(
        scope: Bound<'_, Scope>,
        job_name: Bound<'_, PyString>,
        attempt_name: &Bound<'_, PyString>,
        runner: &str,
        run_id: &str,
        linked: Option<(Py<PyAny>, Py<PyAny>, Py<Span>)>,
        attempts: bool,
        timed: bool,
        cells: Py<JobCells>,
        slowness: Py<Slowness>,
        kind: Py<PyAny>,
        unit: Py<PyAny>,
    ) -> PyResult<Self> {
        Ok(Jobs {
            job_shown: fill::name(scope.get(), &job_name)?,
            attempt_shown: fill::name(scope.get(), attempt_name)?,
            scope: scope.unbind(),
            job_name: job_name.unbind(),
            blocks: Blocks::new(runner, run_id),
            runner: runner.into(),
            run_id: run_id.into(),
            linked,
            attempts,
            timed,
            cells,
            slowness,
            kind,
            unit,
        })
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
        let timings = job.getattr(intern!(py, "timings"))?;
        let submitted = if this.timed {
            Numbers::of(&timings)?.submitted
        } else {
            scope.get().reading(py)?
        };
        let names = names(py)?;
        let name = this.job_name.bind(py).as_any();
        let begins = Started {
            attributes: given.as_ref(),
            shown: Some(&this.job_shown),
            role: Role::Job,
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
        // The first attempt's is made here, where another job has just ended: in the
        // first steps of many jobs it would bring the garbage collector nearer.
        let ready = if this.attempts {
            Some(context::copied(&outside)?.unbind())
        } else {
            let context = context::inside(span, &outside, None)?;
            names.make_current.bind(py).call1((context,))?;
            None
        };
        let unit = JobUnit {
            jobs: slf.clone().unbind(),
            index: job.getattr(intern!(py, "index"))?.extract()?,
            submitted,
            timings: timings.unbind(),
            told: span.clone().unbind(),
            outside: outside.unbind(),
            ready: Mutex::new(ready),
            attempt: Mutex::new(None),
        };
        start::untracked(py, unit).map(Bound::into_any)
    }

    // `kind` has the method that opens jobs: a circle, with all that its runner has.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.kind)?;
        visit.call(&self.unit)?;
        if let Some((outside, links, _)) = &self.linked {
            visit.call(outside)?;
            visit.call(links)?;
        }
        Ok(())
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
    /// A copy of it, for the first attempt.
    ready: Mutex<Option<Py<PyDict>>>,
    timings: Py<PyAny>,
    attempt: Mutex<Option<Attempt>>,
}

impl JobUnit {
    fn write(
        &self,
        py: Python<'_>,
        outcome: &str,
        attempts: i64,
        seconds: [f64; PHASES],
        duration: f64,
    ) -> PyResult<()> {
        let span = self.told.get();
        let scope = span.scope.get();
        let jobs = self.jobs.get();
        let limit = scope.limits.attributes();
        let is_slow = jobs.slowness.get().judge(duration);
        span.change(py, "set_attributes", |record| {
            let at_once = attempts == 1 && outcome == "ok";
            let (blocks, index) = (&jobs.blocks, self.index);
            if at_once && blocks.write(record, limit, index, seconds, is_slow) {
                return;
            }
            let [slow, phase, others @ ..] = &keys().job;
            record.attributes.reserve(others.len() + 3);
            if is_slow {
                fill::set(record, scope, slow, Value::Bool(true));
            }
            fill::set(record, scope, phase, Value::Text(largest(&seconds)));
            let mut keys = others.iter();
            let values = [
                Value::Text(&jobs.runner),
                Value::Text(&jobs.run_id),
                Value::Text(outcome),
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

    /// The very end that the ledger has: its parts add up to the span.
    fn ended(&self, py: Python<'_>, seconds: f64) -> PyResult<f64> {
        let jobs = self.jobs.get();
        if jobs.timed {
            return Ok(self.submitted + seconds);
        }
        jobs.scope.get().reading(py)
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
        let mut record = Record::new(jobs.attempt_shown.clone());
        let (count, limit) = (number.extract()?, scope.get().limits.attributes());
        if count == 1 && record.attributes.takes(&keys().attempt, limit) {
            record.attributes.push_block(&jobs.blocks.attempt);
        } else {
            let values = [Value::Text(&jobs.runner), Value::Int(count)];
            for (key, value) in keys().attempt.iter().zip(values) {
                fill::set(&mut record, scope.get(), key, value);
            }
        }
        let (told, inner) = match start::child(scope, self.told.bind(py), begun, record, outside)? {
            Some(span) => {
                let ready = lock(&self.ready).take();
                let inner = match ready {
                    Some(ready) => ready.into_bound(py),
                    None => context::copied(outside)?,
                };
                context::fill(&inner, &span, outside, Some(number))?;
                (span.into_any(), inner.into_any())
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
        let timings = self.timings.bind(py);
        let attempt = Attempt::new(told, inner, begun, number, timings)?;
        let another = lock(&self.attempt).replace(attempt);
        drop(another);
        Ok(())
    }

    /// End the attempt's span, by `error` if there is one.
    ///
    /// After the last one nothing of the user's runs in the job: only what may be
    /// followed by another attempt makes the job's span the current one.
    fn end_attempt(&self, _number: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        let Some(attempt) = lock(&self.attempt).take() else {
            return Ok(());
        };
        let told = &attempt.told;
        let jobs = self.jobs.get();
        if !error.is_none() {
            // Also for what the attempt has started, and still runs.
            let context = context::inside(self.told.bind(py), self.outside.bind(py), None)?;
            let inner = attempt.inner.bind(py);
            inner
                .cast::<PyDict>()?
                .set_item(names(py)?.outside.bind(py), (&told, &context))?;
            leave(inner, &context)?;
        }
        let ended = jobs.scope.get().reading(py)?;
        let failed = !error.is_none();
        attempt.measure(jobs.kind.bind(py), &self.timings, ended, failed)?;
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
        let Numbers {
            parts, duration, ..
        } = Numbers::of(timings)?;
        self.write(py, "ok", attempts, parts, duration)?;
        let ended = self.ended(py, duration)?;
        let jobs = self.jobs.get();
        let span = self.told.bind(py);
        // First, while its trace can still be kept as an exemplar.
        let counted = jobs
            .cells
            .get()
            .count(duration, &parts, Some(span.as_any()));
        end::end(span, span.get().trace.wall(ended))?;
        counted
    }

    /// The job has its outcome: end its span, and count it.
    fn conclude(
        &self,
        timings: &Bound<'_, PyAny>,
        outcome: &str,
        attempts: i64,
        error: &Bound<'_, PyAny>,
        cancelled_by: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = timings.py();
        let parts = timings.call_method0(intern!(py, "parts"))?;
        let Numbers {
            parts: seconds_of,
            duration: seconds,
            ..
        } = Numbers::of(timings)?;
        self.write(py, outcome, attempts, seconds_of, seconds)?;
        let span = self.told.bind(py);
        if !cancelled_by.is_none() {
            let key = intern!(py, CANCELLED_BY);
            span.get().set("set_attribute", key, cancelled_by)?;
        }
        let ended = self.ended(py, seconds)?;
        let kind = self.jobs.get().kind.bind(py);
        let given = (span, error, ended, seconds, parts, outcome);
        let counted = kind.call_method1(intern!(py, "conclude"), given);
        end::end(span, span.get().trace.wall(ended))?;
        counted.map(drop)
    }

    /// Add an event to the job's span, at this moment.
    #[pyo3(signature = (name, **attributes))]
    fn event(
        &self,
        name: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        self.told.get().event(name, attributes.map(Bound::as_any))
    }

    /// Tell that another attempt follows `error` after `delay` seconds.
    fn retried(
        slf: &Bound<'_, Self>,
        error: &Bound<'_, PyAny>,
        delay: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let class = slf.get().jobs.get().unit.bind(slf.py());
        class
            .call_method1(intern!(slf.py(), "retried"), (slf, error, delay))
            .map(drop)
    }

    /// Tell that a second call was sent, `after` seconds of waiting.
    fn hedged(slf: &Bound<'_, Self>, after: &Bound<'_, PyAny>) -> PyResult<()> {
        let class = slf.get().jobs.get().unit.bind(slf.py());
        class
            .call_method1(intern!(slf.py(), "hedged"), (slf, after))
            .map(drop)
    }
}
