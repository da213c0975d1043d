//! `unit` and `UserUnit`: the units of users' own code.

use std::sync::{Mutex, OnceLock};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::{Units, leave};
use crate::attributes::Block;
use crate::cells::{Cell, Number};
use crate::encode::Value;
use crate::fill;
use crate::lock;
use crate::names::names;
use crate::record::OF_SPAN;
use crate::span::Span;
use crate::start::{self, Started};
use crate::texts::{self, Key};
use crate::{context, end};

/// The key of the name, looked at once.
fn name_key() -> &'static Key<'static> {
    static KEY: OnceLock<Key<'static>> = OnceLock::new();
    KEY.get_or_init(|| texts::key("spanrun.unit.name"))
}

/// The outcome of a unit that nothing went wrong in.
struct Succeeded {
    keys: [Key<'static>; 1],
    block: Block,
}

fn succeeded() -> &'static Succeeded {
    static SUCCEEDED: OnceLock<Succeeded> = OnceLock::new();
    SUCCEEDED.get_or_init(|| {
        let key = texts::key("spanrun.unit.outcome");
        let block = Block::new(OF_SPAN, &[(&key, Value::Text("ok"))]);
        Succeeded { keys: [key], block }
    })
}

/// What gives the recorder in force, and what a unit is where there is none.
static IN_FORCE: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

/// Say what gives the recorder in force, and what a unit is where there is none.
///
/// It is said when `spanrun` is imported: at the end of a process nothing can be.
#[pyfunction]
pub fn units_record(py: Python<'_>, recorder: Py<PyAny>, off: Py<PyAny>) {
    let _ = IN_FORCE.set(py, (recorder, off)); // it was said before
}

/// The recorder in force, where that is known until it is said anew.
static KNOWN: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Have units record into `recorder`; with None, ask for it each time.
#[pyfunction]
pub fn put_in_force(recorder: Option<Py<PyAny>>) {
    let before = std::mem::replace(&mut *lock(&KNOWN), recorder);
    drop(before); // which may run Python code, so not while the lock is held
}

/// `spanrun.unit`: its contract stands at the class in Python.
#[pyclass(
    frozen,
    freelist = 256,
    name = "unit",
    module = "spanrun.telemetry.instrument"
)]
pub struct UnitBlock {
    name: Py<PyString>,
    attributes: Option<Py<PyDict>>,
    open: Mutex<Vec<Py<PyAny>>>,
}

#[pymethods]
impl UnitBlock {
    #[new]
    #[pyo3(signature = (name, /, **attributes))]
    fn new(name: &Bound<'_, PyAny>, attributes: Option<Bound<'_, PyDict>>) -> PyResult<Self> {
        match name.cast::<PyString>() {
            Ok(text) if !text.is_empty()? => Ok(UnitBlock {
                name: text.clone().unbind(),
                attributes: attributes.map(Bound::unbind),
                open: Mutex::default(),
            }),
            _ => {
                let checks = name.py().import("spanrun.checks")?;
                let wrong = ("unit", "name", name, "must be a text");
                Err(PyErr::from_value(checks.call_method1("wrong", wrong)?))
            }
        }
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some((recorder, off)) = IN_FORCE.get(py) else {
            return Err(PyRuntimeError::new_err("no recorder was named"));
        };
        let known = lock(&KNOWN).as_ref().map(|known| known.clone_ref(py));
        let recorder = match known {
            Some(known) => known.into_bound(py),
            None => recorder.bind(py).call0()?,
        };
        let opened = if recorder.is_none() {
            off.bind(py).clone()
        } else {
            let units = recorder.getattr(intern!(py, "units"))?;
            match units.cast::<Units>() {
                Ok(units) => {
                    let attributes = self.attributes.as_ref().map(|given| given.bind(py));
                    UserUnit::open(units, self.name.bind(py), attributes)?
                }
                Err(_) => {
                    let given = (&self.name, &self.attributes);
                    recorder.call_method1(intern!(py, "open_unit"), given)?
                }
            }
        };
        lock(&self.open).push(opened.clone().unbind());
        Ok(opened)
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = error.py();
        let Some(opened) = lock(&self.open).pop() else {
            return Ok(()); // it was never entered
        };
        match opened.bind(py).cast::<UserUnit>() {
            Ok(unit) => UserUnit::close(unit, error),
            Err(_) => opened
                .call_method1(py, intern!(py, "close"), (error,))
                .map(drop),
        }
    }
}

/// A unit of a user's own code: see `UserUnit` in Python.
#[pyclass(frozen, freelist = 256, module = "spanrun._core")]
pub struct UserUnit {
    units: Py<Units>,
    name: Py<PyString>,
    /// Its context, and the one around it, until it is closed: what a user puts there
    /// may refer to the unit.
    contexts: Mutex<Option<(Py<PyAny>, Py<PyAny>)>>,
    #[pyo3(get)]
    told: Py<Span>,
    #[pyo3(get)]
    started: f64,
}

impl UserUnit {
    /// Open one below the current span, and make its span the current one. It is one of
    /// the class in Python for a span that a sampler has dropped.
    pub fn open<'py>(
        units: &Bound<'py, Units>,
        name: &Bound<'py, PyString>,
        attributes: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (units.py(), units.get());
        let names = names(py)?;
        let scope = this.scope.bind(py);
        let begun = scope.get().reading(py)?;
        let outside = names.current.bind(py).call0()?;
        let begins = Started {
            named: Some(name_key()),
            attributes: attributes.map(Bound::as_any),
            ..Started::new(name.as_any(), begun)
        };
        let told = start::start(scope, &begins, &outside)?;
        let Ok(span) = told.cast::<Span>() else {
            let given = (&this.recorder, name, attributes, told);
            return this.user.bind(py).call1(given);
        };
        let context = context::inside(span, &outside, None)?;
        names.make_current.bind(py).call1((&context,))?;
        let unit = UserUnit {
            units: units.clone().unbind(),
            name: name.clone().unbind(),
            contexts: Mutex::new(Some((context.unbind(), outside.unbind()))),
            told: span.clone().unbind(),
            started: begun,
        };
        start::untracked(py, unit).map(Bound::into_any)
    }
}

#[pymethods]
impl UserUnit {
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
        if let Some((context, outside)) = lock(&this.contexts).take() {
            leave(context.bind(py), outside.bind(py))?;
        }
        let units = this.units.get();
        let recorder = units.recorder.bind(py);
        if !error.is_none() {
            recorder.call_method1(intern!(py, "fail_unit"), (slf, &this.name, error))?;
            return Ok(());
        }
        let span = this.told.bind(py);
        let scope = span.get().scope.get();
        let ended = scope.reading(py)?;
        let seconds = ended - this.started;
        let (ok, limit) = (succeeded(), scope.limits.attributes());
        span.get().change(py, "set", |record| {
            if record.attributes.takes(&ok.keys, limit) {
                record.attributes.push_block(&ok.block);
            } else {
                fill::set(record, scope, &ok.keys[0], Value::Text("ok"));
            }
        })?;
        let cell = match units.user_series.bind(py).get_item(&this.name)? {
            Some(cell) => cell,
            None => recorder.call_method1(intern!(py, "series_of_unit"), (&this.name,))?,
        };
        // First, while its trace can still be kept as an exemplar.
        let counted = match cell.cast::<Cell>() {
            Ok(cell) => cell.get().add(Number::Real(seconds), Some(span.as_any())),
            Err(_) => cell
                .call_method1(intern!(py, "add"), (seconds, span))
                .map(drop),
        };
        end::end(span, span.get().trace.wall(ended))?;
        counted
    }
}
