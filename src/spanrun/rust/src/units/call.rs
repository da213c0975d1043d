//! `CallUnit`: the units of calls to services.

use std::sync::Mutex;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};

use super::{Units, leave};
use crate::cells::{Cell, Number};
use crate::lock;
use crate::names::names;
use crate::span::Span;
use crate::start::{self, Started};
use crate::{context, end};

const CLIENT: u8 = 2; // `SpanKind.CLIENT.value`

/// One call: see `CallUnit` in Python, whose class does what few of them need.
#[pyclass(frozen, freelist = 256, module = "spanrun._core")]
pub struct CallUnit {
    units: Py<Units>,
    #[pyo3(get)]
    kind: Py<PyAny>,
    /// Its context, and the one around it, until it is left.
    contexts: Mutex<Option<(Py<PyAny>, Py<PyAny>)>>,
    #[pyo3(get)]
    told: Py<Span>,
    #[pyo3(get)]
    started: f64,
    /// What was set, beside the attributes of its kind.
    given: Mutex<Option<Py<PyDict>>>,
}

impl CallUnit {
    /// What adds to the duration of calls with these attributes; None where they have
    /// to be looked at first.
    fn series<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let kind = self.kind.bind(py);
        let mut key = vec![kind.clone()];
        let given = lock(&self.given).as_ref().map(|given| given.clone_ref(py));
        if let Some(given) = given {
            let labels = kind.getattr(intern!(py, "labels"))?;
            for (name, value) in given.bind(py) {
                if !labels.contains(&name)? {
                    continue; // such as the size of a body, of which each call has another
                }
                if !value.is_exact_instance_of::<PyInt>()
                    && !value.is_exact_instance_of::<PyString>()
                {
                    return Ok(None); // 1.0 and True are equal to 1, and aren't the same
                }
                key.extend([name, value]);
            }
        }
        let key = PyTuple::new(py, key)?;
        let units = self.units.get();
        match units.call_series.bind(py).get_item(&key)? {
            Some(series) => Ok(Some(series)),
            None => units
                .recorder
                .bind(py)
                .call_method1(
                    intern!(py, "series_of_call"),
                    (key, &self.kind, self.attributes(py)?),
                )
                .map(Some),
        }
    }

    /// Open one below the current span, to be entered. It is one of the class in Python
    /// for a span that a sampler has dropped.
    pub fn open<'py>(
        units: &Bound<'py, Units>,
        kind: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (units.py(), units.get());
        let scope = this.scope.bind(py);
        let begun = scope.get().reading(py)?;
        let outside = names(py)?.current.bind(py).call0()?;
        let name = kind.getattr(intern!(py, "name"))?;
        let attributes = kind.getattr(intern!(py, "attributes"))?;
        let client = CLIENT.into_pyobject(py)?.into_any();
        let begins = Started {
            kind: Some(&client),
            attributes: Some(&attributes),
            ..Started::new(&name, begun)
        };
        let told = start::start(scope, &begins, &outside)?;
        let Ok(span) = told.cast::<Span>() else {
            return this.call.bind(py).call1((&this.recorder, kind, told));
        };
        let inside = context::inside(span, &outside, None)?;
        let opened = CallUnit {
            units: units.clone().unbind(),
            kind: kind.clone().unbind(),
            contexts: Mutex::new(Some((inside.unbind(), outside.unbind()))),
            told: span.clone().unbind(),
            started: begun,
            given: Mutex::new(None),
        };
        start::untracked(py, opened).map(Bound::into_any)
    }
}

#[pymethods]
impl CallUnit {
    #[getter]
    fn recorder(&self, py: Python<'_>) -> Py<PyAny> {
        self.units.get().recorder.clone_ref(py)
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

    /// Those of its kind, and what was set.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let kind = self.kind.bind(py).getattr(intern!(py, "attributes"))?;
        let all = kind.cast::<PyDict>()?.copy()?;
        let given = lock(&self.given).as_ref().map(|given| given.clone_ref(py));
        if let Some(given) = given {
            all.update(given.bind(py).as_mapping())?;
        }
        Ok(all)
    }

    /// Set an attribute of the span and, where it belongs there, the metric.
    fn set(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let given = lock(&self.given).as_ref().map(|given| given.clone_ref(py));
        let given = match given {
            Some(given) => given.into_bound(py),
            None => {
                let made = PyDict::new(py);
                let before = lock(&self.given).replace(made.clone().unbind());
                drop(before);
                made
            }
        };
        given.set_item(key, value)?;
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

    /// Say that it failed by what it answered, though nothing was raised.
    fn fail(slf: &Bound<'_, Self>, error_type: &Bound<'_, PyAny>) -> PyResult<()> {
        let class = slf.get().units.get().call.bind(slf.py());
        class
            .call_method1(intern!(slf.py(), "fail"), (slf, error_type))
            .map(drop)
    }

    /// Record another metric of the call, with its attributes and `more`.
    #[pyo3(signature = (metric, value, **more))]
    fn record(
        slf: &Bound<'_, Self>,
        metric: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        more: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let class = slf.get().units.get().call.bind(slf.py());
        class
            .call_method(intern!(slf.py(), "record"), (slf, metric, value), more)
            .map(drop)
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let py = slf.py();
        let contexts = &slf.get().contexts;
        let inside = lock(contexts)
            .as_ref()
            .map(|(inside, _)| inside.clone_ref(py));
        if let Some(inside) = inside {
            names(py)?.make_current.bind(py).call1((inside,))?;
        }
        Ok(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let contexts = lock(&this.contexts).take();
        if let Some((inside, outside)) = contexts {
            leave(inside.bind(py), outside.bind(py))?;
        }
        let span = this.told.bind(py);
        let ended = span.get().scope.get().reading(py)?;
        if error.is_none()
            && let Some(series) = this.series(py)?
        {
            let seconds = ended - this.started;
            // First, while its trace can still be kept as an exemplar.
            let counted = match series.cast::<Cell>() {
                Ok(cell) => cell.get().add(Number::Real(seconds), Some(span.as_any())),
                Err(_) => series
                    .call_method1(intern!(py, "add"), (seconds, span))
                    .map(drop),
            };
            end::end(span, span.get().trace.wall(ended))?;
            return counted;
        }
        let class = this.units.get().call.bind(py);
        class
            .call_method1(intern!(py, "end"), (slf, error, ended))
            .map(drop)
    }
}
