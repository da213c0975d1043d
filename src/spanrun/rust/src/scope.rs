//! `Scope`: what the spans of one tracer share, and how they are started.

use std::sync::{Arc, Mutex};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyException;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::buffer::{Buffer, Header, Notice};
use crate::clock::Clock;
use crate::local::Role;
use crate::lock;
use crate::names::names;
use crate::settings::{Limits, Root, Settings};
use crate::span::{Link, Span};
use crate::start::{self, Started};
use crate::tail::Tail;

/// What the spans of one tracer share.
#[pyclass(frozen, weakref, module = "spanrun._core")]
pub struct Scope {
    owner: Py<PyAny>,
    clock: Clock,
    anchor: Py<PyAny>,
    pub limits: Limits,
    pub clean: Py<PyAny>,
    view: Py<PyAny>,
    failed: Py<PyAny>,
    too_late: Py<PyAny>,
    settings: Mutex<Arc<Settings>>,
    /// The links that were given last: all jobs of a run have the same tuple.
    links: Mutex<Option<Links>>,
}

type Links = (Py<PyTuple>, Vec<Arc<Link>>);

impl Scope {
    /// The links in `given`, if they were read already.
    pub fn known_links(&self, given: &Bound<'_, PyTuple>) -> Option<Vec<Arc<Link>>> {
        match &*lock(&self.links) {
            Some((tuple, links)) if tuple.as_ptr() == given.as_ptr() => Some(links.clone()),
            _ => None,
        }
    }

    /// Remember what was read of `given`, which can't change.
    pub fn remember_links(&self, given: &Bound<'_, PyTuple>, links: &[Arc<Link>]) {
        let known = (given.clone().unbind(), links.to_vec());
        let before = lock(&self.links).replace(known);
        drop(before); // which may run Python code, so not while the lock is held
    }

    /// The settings of this moment.
    pub fn settings(&self) -> Arc<Settings> {
        lock(&self.settings).clone()
    }

    fn set(&self, py: Python<'_>, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings().copy(py);
        change(&mut settings);
        let before = std::mem::replace(&mut *lock(&self.settings), Arc::new(settings));
        drop(before); // which may run Python code, so not while the lock is held
    }

    /// A reading of the monotonic clock; 0 where there is none.
    pub fn reading(&self, py: Python<'_>) -> PyResult<f64> {
        match self.clock.read(py) {
            Ok(seconds) => Ok(seconds),
            failed => self.or_failed(py, failed, 0.0),
        }
    }

    /// The nanoseconds since the Unix epoch at the reading 0.
    pub fn anchor(&self, py: Python<'_>) -> PyResult<i64> {
        let anchor = self.anchor.call0(py).and_then(|anchor| anchor.extract(py));
        self.or_failed(py, anchor, 0)
    }

    /// The view of a span.
    pub fn view_of<'py>(&self, span: &Bound<'py, Span>) -> PyResult<Bound<'py, PyAny>> {
        self.view.bind(span.py()).call1((span,))
    }

    /// Say that `method` was called after the end of the span of that name.
    pub fn late(&self, py: Python<'_>, method: &str, name: &str) -> PyResult<()> {
        let told = self.too_late.call1(py, (method, name)).map(drop);
        self.or_failed(py, told, ())
    }

    /// The result, or `instead` where an exception went to `failed`. What isn't an
    /// ``Exception``, such as ``KeyboardInterrupt``, goes on.
    pub fn or_failed<T>(&self, py: Python<'_>, result: PyResult<T>, instead: T) -> PyResult<T> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !error.is_instance_of::<PyException>(py) {
            return Err(error);
        }
        match self.failed.call1(py, (error.into_value(py),)) {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                error.write_unraisable(py, None);
                Ok(instead)
            }
            told => told.map(|_| instead),
        }
    }

    /// Put a span into the buffer, which `encode` appends. No lock may be held.
    pub fn put(
        scope: &Py<Scope>,
        settings: &Settings,
        py: Python<'_>,
        failed: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Header,
    ) -> PyResult<()> {
        let Some(buffer) = settings.buffer.as_ref() else {
            return Ok(());
        };
        let notice = buffer.get().put(scope, py, failed, encode);
        if notice == Notice::Nobody {
            return Ok(());
        }
        let told = Buffer::tell(buffer.bind(py), notice);
        scope.get().or_failed(py, told, ())
    }
}

/// Flags and tracestate, as `root` has them for one kind of traces.
type Pair<'py> = (u8, Bound<'py, PyAny>);

#[pymethods]
impl Scope {
    #[new]
    #[allow(clippy::too_many_arguments)] // as the interface has it
    fn new(
        py: Python<'_>,
        owner: Py<PyAny>,
        now: Py<PyAny>,
        anchor: Py<PyAny>,
        limits: Limits,
        clean: Py<PyAny>,
        view: Py<PyAny>,
        failed: Py<PyAny>,
        too_late: Py<PyAny>,
    ) -> PyResult<Self> {
        let nothing = Arc::new(Root {
            flags: 0,
            state: names(py)?.default_state.clone_ref(py),
            header: "".into(),
        });
        Ok(Scope {
            owner,
            clock: Clock::new(py, now),
            anchor,
            limits,
            clean,
            view,
            failed,
            too_late,
            settings: Mutex::new(Arc::new(Settings {
                buffer: None,
                tail: None,
                on_start: None,
                on_end: None,
                follow: false,
                threshold: None,
                root: [nothing.clone(), nothing],
                bits: None,
                ask: None,
                generation: 0,
            })),
            links: Mutex::new(None),
        })
    }

    /// Start a span below the one in ``context``, or a trace.
    #[pyo3(signature = (
        name, kind, context, begun = None, attributes = None, links = None,
        *, start_ns = None, anchored = None, role = 0
    ))]
    #[allow(clippy::too_many_arguments)] // as the interface has it
    fn start<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        kind: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        begun: Option<f64>,
        attributes: Option<&Bound<'py, PyAny>>,
        links: Option<&Bound<'py, PyAny>>,
        start_ns: Option<&Bound<'py, PyAny>>,
        anchored: Option<&Bound<'py, PyAny>>,
        role: u8,
    ) -> PyResult<Bound<'py, PyAny>> {
        let started = Started {
            name,
            shown: None,
            kind: Some(kind),
            begun,
            named: None,
            attributes,
            links,
            start_ns,
            // One that a sampler dropped has no anchor.
            anchored: anchored.and_then(|span| span.cast::<Span>().ok()),
            role: Role::of(role),
        };
        start::start(slf, &started, context)
    }

    /// Start a span on which the caller has decided.
    #[pyo3(signature = (
        name, kind, trace_id, parent, flags, state, begun, attributes, links,
        *, start_ns = None, context = None, anchored = None, role = 0
    ))]
    #[allow(clippy::too_many_arguments)] // as the interface has it
    fn make<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        kind: &Bound<'py, PyAny>,
        trace_id: u128,
        parent: Option<&Bound<'py, PyAny>>,
        flags: u8,
        state: &Bound<'py, PyAny>,
        begun: Option<f64>,
        attributes: Option<&Bound<'py, PyAny>>,
        links: Option<&Bound<'py, PyAny>>,
        start_ns: Option<&Bound<'py, PyAny>>,
        context: Option<&Bound<'py, PyAny>>,
        anchored: Option<&Bound<'py, PyAny>>,
        role: u8,
    ) -> PyResult<Bound<'py, Span>> {
        let started = Started {
            name,
            shown: None,
            kind: Some(kind),
            begun,
            named: None,
            attributes,
            links,
            start_ns,
            // One that a sampler dropped has no anchor.
            anchored: anchored.and_then(|span| span.cast::<Span>().ok()),
            role: Role::of(role),
        };
        start::make(slf, &started, trace_id, parent, flags, state, context)
    }

    /// End the spans that are open now nowhere: they are another process's.
    fn disown(&self, py: Python<'_>) {
        self.set(py, |settings| settings.generation += 1);
    }

    #[getter]
    fn owner(&self, py: Python<'_>) -> Py<PyAny> {
        self.owner.clone_ref(py)
    }

    #[getter]
    fn buffer(&self, py: Python<'_>) -> Option<Py<Buffer>> {
        self.settings().copy(py).buffer
    }

    #[setter]
    fn set_buffer(&self, py: Python<'_>, buffer: Option<Py<Buffer>>) {
        self.set(py, |settings| settings.buffer = buffer);
    }

    #[getter]
    fn tail(&self, py: Python<'_>) -> Option<Py<Tail>> {
        self.settings().copy(py).tail
    }

    #[setter]
    fn set_tail(&self, py: Python<'_>, tail: Option<Py<Tail>>) {
        self.set(py, |settings| settings.tail = tail);
    }

    #[getter]
    fn on_start(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings().copy(py).on_start
    }

    #[setter]
    fn set_on_start(&self, py: Python<'_>, on_start: Option<Py<PyAny>>) {
        self.set(py, |settings| settings.on_start = on_start);
    }

    #[getter]
    fn on_end(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings().copy(py).on_end
    }

    #[setter]
    fn set_on_end(&self, py: Python<'_>, on_end: Option<Py<PyAny>>) {
        self.set(py, |settings| settings.on_end = on_end);
    }

    #[getter]
    fn follow(&self) -> bool {
        self.settings().follow
    }

    #[setter]
    fn set_follow(&self, py: Python<'_>, follow: bool) {
        self.set(py, |settings| settings.follow = follow);
    }

    #[getter]
    fn threshold(&self) -> Option<u64> {
        self.settings().threshold
    }

    #[setter]
    fn set_threshold(&self, py: Python<'_>, threshold: Option<u64>) {
        self.set(py, |settings| settings.threshold = threshold);
    }

    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> (Pair<'py>, Pair<'py>) {
        let settings = self.settings();
        let [drawn, other] = &settings.root;
        (
            (drawn.flags, drawn.state.bind(py).clone()),
            (other.flags, other.state.bind(py).clone()),
        )
    }

    #[setter]
    fn set_root(&self, py: Python<'_>, root: (Pair<'_>, Pair<'_>)) -> PyResult<()> {
        let of = |(flags, state): Pair<'_>| -> PyResult<_> {
            Ok(Arc::new(Root {
                flags,
                header: start::header(self, &state)?,
                state: state.unbind(),
            }))
        };
        let both = [of(root.0)?, of(root.1)?];
        self.set(py, |settings| settings.root = both);
        Ok(())
    }

    #[getter]
    fn bits(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings().copy(py).bits
    }

    #[setter]
    fn set_bits(&self, py: Python<'_>, bits: Option<Py<PyAny>>) {
        self.set(py, |settings| settings.bits = bits);
    }

    #[getter]
    fn ask(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings().copy(py).ask
    }

    #[setter]
    fn set_ask(&self, py: Python<'_>, ask: Option<Py<PyAny>>) {
        self.set(py, |settings| settings.ask = ask);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for object in [
            &self.owner,
            self.clock.now(),
            &self.anchor,
            &self.clean,
            &self.view,
            &self.failed,
            &self.too_late,
        ] {
            visit.call(object)?;
        }
        // Who holds the lock at this moment holds the objects as well.
        let Ok(settings) = self.settings.try_lock() else {
            return Ok(());
        };
        if Arc::strong_count(&settings) > 1 {
            return Ok(());
        }
        visit.call(&settings.buffer)?;
        visit.call(&settings.tail)?;
        visit.call(&settings.on_start)?;
        visit.call(&settings.on_end)?;
        visit.call(&settings.bits)?;
        visit.call(&settings.ask)
    }
}
