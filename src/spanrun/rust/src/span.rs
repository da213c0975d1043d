//! `Span`: open, and then bytes.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::fill;
use crate::keys;
use crate::lock;
use crate::names::names;
use crate::record::{self, Event, Identity, OK, Record};
use crate::scope::Scope;
use crate::tail::Local;
use crate::value;

/// Flags of the header.
pub const FAILED: u8 = 1;
pub const RETRIED: u8 = 2;
pub const SLOW: u8 = 4;
pub const EXEMPLAR: u8 = 8;
pub const ROOT: u8 = 16;

/// W3C's trace flag of a trace that is drawn.
pub const SAMPLED: u8 = 1;

const RETRY: &str = "spanrun.job.retry"; // the event

/// A link of a span of ours.
pub type Link = record::Link<Py<PyAny>>;

/// What the spans of a trace in this process share.
pub struct Trace {
    pub id: u128,
    pub flags: u8,
    pub state: Py<PyAny>,
    pub header: Arc<str>,
    /// Nanoseconds since the Unix epoch at the reading 0 of the monotonic clock.
    pub anchor: i64,
    /// Where its spans wait for a verdict, if it wasn't drawn.
    pub local: Option<Arc<Local>>,
}

impl Trace {
    /// A reading of the monotonic clock in nanoseconds since the Unix epoch.
    pub fn wall(&self, seconds: f64) -> u64 {
        let since = self.anchor.saturating_add((seconds * 1e9) as i64);
        u64::try_from(since).unwrap_or(0)
    }
}

/// The parent of a span.
pub enum Parent {
    None,
    /// A span of this process, which handed its trace down.
    Ours(u64),
    Context {
        id: u64,
        is_remote: bool,
        context: Py<PyAny>,
    },
}

/// One span: open, and then bytes.
#[pyclass(frozen, weakref, module = "spanrun._core")]
pub struct Span {
    pub scope: Py<Scope>,
    pub trace: Arc<Trace>,
    pub id: u64,
    pub parent: Parent,
    kind: u8,
    pub start: u64,
    pub is_root: bool,
    pub generation: u32,
    context: PyOnceLock<Py<PyAny>>,
    pub record: Mutex<Record<Py<PyAny>>>,
}

impl Span {
    #[allow(clippy::too_many_arguments)] // a constructor of all that it has
    pub fn new(
        scope: Py<Scope>,
        trace: Arc<Trace>,
        id: u64,
        parent: Parent,
        kind: u8,
        start: u64,
        is_root: bool,
        generation: u32,
        record: Record<Py<PyAny>>,
    ) -> Self {
        Span {
            scope,
            trace,
            id,
            parent,
            kind,
            start,
            is_root,
            generation,
            context: PyOnceLock::new(),
            record: Mutex::new(record),
        }
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        lock(&self.record).ended.is_none()
    }

    /// What never changes of it.
    pub fn identity(&self) -> Identity<'_> {
        let (parent, parent_is_remote) = match &self.parent {
            Parent::None => (None, false),
            Parent::Ours(id) => (Some(*id), false),
            Parent::Context { id, is_remote, .. } => (Some(*id), *is_remote),
        };
        Identity {
            trace_id: self.trace.id,
            span_id: self.id,
            tracestate: &self.trace.header,
            parent,
            parent_is_remote,
            kind: self.kind,
            start: self.start,
        }
    }

    /// Change what it has recorded, unless it has ended. No Python code may run in
    /// `change`, and nothing of Python may be dropped there.
    #[inline]
    fn change<T>(
        &self,
        py: Python<'_>,
        method: &str,
        change: impl FnOnce(&mut Record<Py<PyAny>>) -> T,
    ) -> PyResult<Option<T>> {
        let mut record = lock(&self.record);
        if record.ended.is_none() {
            return Ok(Some(change(&mut record)));
        }
        drop(record);
        self.too_late(py, method).map(|()| None)
    }

    /// Whether it is open; else it says that `method` came too late.
    fn open(&self, py: Python<'_>, method: &str) -> PyResult<bool> {
        if self.is_open() {
            return Ok(true);
        }
        self.too_late(py, method).map(|()| false)
    }

    pub fn too_late(&self, py: Python<'_>, method: &str) -> PyResult<()> {
        self.scope.get().late(py, method, &self.current_name())
    }

    pub fn current_name(&self) -> Arc<str> {
        lock(&self.record).name.clone()
    }

    fn now(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.trace.wall(self.scope.get().reading(py)?))
    }

    fn viewed<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        slf.get().scope.get().view_of(slf)?.getattr(name)
    }

    fn set(&self, method: &str, key: &Bound<'_, PyAny>, given: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, scope) = (key.py(), self.scope.get());
        let Some(key) = keys::key(key) else {
            self.change(py, method, |record| record.attributes.dropped += 1)?;
            return Ok(());
        };
        let done = fill::with_value(scope, &key, given, scope.limits.length(), |value| {
            let mut record = lock(&self.record);
            let is_open = record.ended.is_none();
            if is_open {
                fill::set(&mut record, scope, &key, value);
            }
            is_open
        })?;
        if done {
            Ok(())
        } else {
            self.too_late(py, method)
        }
    }
}

#[pymethods]
impl Span {
    #[getter]
    fn scope(&self, py: Python<'_>) -> Py<Scope> {
        self.scope.clone_ref(py)
    }

    /// Itself: what a context has as the current span.
    #[getter]
    fn otel(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// A context in which this is the current span, within `outside`.
    #[pyo3(signature = (outside, attempt = None))]
    fn inside<'py>(
        slf: &Bound<'py, Self>,
        outside: &Bound<'py, PyAny>,
        attempt: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let names = names(py)?;
        let context = names.inside.bind(py).call1((outside,))?;
        let dict = context.cast::<PyDict>()?;
        dict.set_item(names.current_span.bind(py), slf)?;
        dict.set_item(names.outside.bind(py), outside)?;
        if let Some(attempt) = attempt {
            dict.set_item(names.attempt.bind(py), attempt)?;
        }
        Ok(context)
    }

    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.current_name())
    }

    #[getter]
    fn trace_id(&self) -> u128 {
        self.trace.id
    }

    #[getter]
    fn span_id(&self) -> u64 {
        self.id
    }

    #[getter]
    fn start_time(&self) -> u64 {
        self.start
    }

    #[getter]
    fn end_time(&self) -> Option<u64> {
        lock(&self.record).ended
    }

    #[getter]
    fn is_local_root(&self) -> bool {
        self.is_root
    }

    #[getter]
    fn has_ended(&self) -> bool {
        !self.is_open()
    }

    /// Its identity, made when it is first asked for.
    pub fn get_span_context(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(context) = self.context.get(py) {
            return Ok(context.clone_ref(py));
        }
        let trace = &self.trace;
        let names = names(py)?;
        let made = names.context(py, trace.id, self.id, trace.flags, &trace.state)?;
        if let Some(local) = &trace.local
            && let Some(tail) = &self.scope.get().settings().tail
        {
            // Others may start spans of the trace from now on.
            tail.get().with(|all| all.register(trace.id, local));
        }
        let _ = self.context.set(py, made.unbind()); // unless another thread did
        match self.context.get(py) {
            Some(context) => Ok(context.clone_ref(py)),
            None => Ok(py.None()),
        }
    }

    #[getter]
    fn context(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.get_span_context(py)
    }

    /// Whether it has not ended.
    fn is_recording(&self) -> bool {
        self.is_open()
    }

    /// A reading of the monotonic clock in nanoseconds since the Unix epoch.
    fn wall_ns(&self, moment: f64) -> u64 {
        self.trace.wall(moment)
    }

    /// Set one attribute, in the place of one with the same key.
    fn set_attribute(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set("set_attribute", key, value)
    }

    /// Set several attributes.
    fn set_attributes(&self, py: Python<'_>, attributes: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.open(py, "set_attributes")? {
            return Ok(());
        }
        let (pairs, unusable) = fill::pairs(attributes)?;
        for (key, given) in &pairs {
            self.set("set_attributes", key, given)?;
        }
        if unusable > 0 {
            lock(&self.record).attributes.dropped += unusable;
        }
        Ok(())
    }

    /// Add an event, which happened at ``timestamp`` or now.
    #[pyo3(signature = (name, attributes = None, timestamp = None))]
    fn add_event(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if !self.open(py, "add_event")? {
            return Ok(());
        }
        let scope = self.scope.get();
        let event = Event {
            name: fill::name(scope, name)?,
            time: match timestamp {
                Some(given) => value::nanoseconds(given),
                None => self.now(py)?,
            },
            is_given: timestamp.is_some(),
            attributes: fill::of_event(scope, attributes)?,
        };
        self.change(py, "add_event", |record| {
            if *event.name == *RETRY {
                record.flags |= RETRIED;
            }
            record.add_event(event, scope.limits.events());
        })?;
        Ok(())
    }

    /// Link it to another span.
    #[pyo3(signature = (context, attributes = None))]
    fn add_link(
        &self,
        py: Python<'_>,
        context: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if !self.open(py, "add_link")? {
            return Ok(());
        }
        let scope = self.scope.get();
        let link = fill::link(scope, context, attributes);
        if let Some(link) = scope.or_failed(py, link, None)? {
            let link = Arc::new(link);
            let most = scope.limits.links();
            let dropped = self.change(py, "add_link", |record| record.add_link(link, most))?;
            drop(dropped); // not while the lock is held
        }
        Ok(())
    }

    /// Call it ``name`` from now on.
    fn update_name(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.open(py, "update_name")? {
            return Ok(());
        }
        let name = fill::name(self.scope.get(), name)?;
        self.change(py, "update_name", |record| record.name = name)?;
        Ok(())
    }

    /// Say how it went. OK is final, and UNSET is ignored.
    #[pyo3(signature = (status, description = None))]
    fn set_status(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        description: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if !self.open(py, "set_status")? {
            return Ok(());
        }
        let scope = self.scope.get();
        let status = crate::errors::status(scope, status, description);
        if let Some((code, description)) = scope.or_failed(py, status, None)? {
            self.change(py, "set_status", |record| {
                record.set_status(code, description);
            })?;
        }
        Ok(())
    }

    /// Add an event ``exception``, by OpenTelemetry's conventions.
    #[pyo3(signature = (exception, attributes = None, timestamp = None, escaped = false))]
    fn record_exception(
        &self,
        exception: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        escaped: bool,
    ) -> PyResult<()> {
        let py = exception.py();
        if !self.open(py, "record_exception")? {
            return Ok(());
        }
        let scope = self.scope.get();
        let all = crate::errors::attributes(scope, exception, attributes, escaped)?;
        let name = PyString::intern(py, "exception");
        self.add_event(py, &name.into_any(), Some(&all.into_any()), timestamp)
    }

    /// Say what leaving its ``with`` block by an exception does; at first, both.
    #[pyo3(signature = (*, record, status))]
    fn on_exception(&self, record: bool, status: bool) {
        let wanted = if record { record::RECORD_EXCEPTION } else { 0 }
            | if status { record::SET_STATUS } else { 0 };
        let both = record::RECORD_EXCEPTION | record::SET_STATUS;
        let mut recorded = lock(&self.record);
        if wanted != both || recorded.rare.is_some() {
            recorded.rare().on_exception = wanted;
        }
    }

    /// Set `RETRIED` for its trace, which is a reason to keep it.
    fn mark(&self, flag: u8) {
        let mut record = lock(&self.record);
        if record.ended.is_none() {
            record.flags |= flag;
        }
    }

    /// Keep its trace for an exemplar; whether it is kept.
    fn pin(&self, py: Python<'_>) -> PyResult<bool> {
        crate::end::pin(self, py)
    }

    /// End it, at ``end_time`` or now. Only the first call counts.
    #[pyo3(signature = (end_time = None))]
    fn end(slf: &Bound<'_, Self>, end_time: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let ended = match end_time {
            Some(given) => value::nanoseconds(given),
            None => slf.get().now(slf.py())?,
        };
        crate::end::end(slf, ended)
    }

    /// End it, at a reading of the monotonic clock.
    fn finish(slf: &Bound<'_, Self>, ended: f64) -> PyResult<()> {
        crate::end::end(slf, slf.get().trace.wall(ended))
    }

    /// All that is recorded by now, for a view.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        crate::snapshot::snapshot(self, py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Record what was raised, unless told otherwise, and end.
    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let this = slf.get();
        if !error.is_none() && this.is_open() {
            let wanted = lock(&this.record)
                .rare
                .as_ref()
                .map(|rare| rare.on_exception);
            let wanted = wanted.unwrap_or(record::RECORD_EXCEPTION | record::SET_STATUS);
            if wanted & record::RECORD_EXCEPTION != 0 {
                this.record_exception(error, None, None, true)?;
            }
            if wanted & record::SET_STATUS != 0 && lock(&this.record).status() != OK {
                let description = crate::errors::description(this.scope.get(), error)?;
                this.change(slf.py(), "set_status", |record| {
                    record.set_status(record::ERROR, Some(description));
                })?;
            }
        }
        Span::end(slf, None)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let context = self.get_span_context(py)?;
        let name = self.name(py);
        Ok(format!(
            "Span({}, {})",
            name.repr()?.to_str()?,
            context.bind(py).repr()?.to_str()?
        ))
    }

    #[getter]
    fn attributes<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "attributes")
    }

    #[getter]
    fn dropped_attributes<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "dropped_attributes")
    }

    #[getter]
    fn events<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "events")
    }

    #[getter]
    fn dropped_events<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "dropped_events")
    }

    #[getter]
    fn links<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "links")
    }

    #[getter]
    fn dropped_links<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "dropped_links")
    }

    #[getter]
    fn status<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "status")
    }

    #[getter]
    fn parent<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "parent")
    }

    #[getter]
    fn kind<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "kind")
    }

    #[getter]
    fn resource<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "resource")
    }

    #[getter]
    fn instrumentation_scope<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "instrumentation_scope")
    }

    #[getter]
    fn instrumentation_info<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "instrumentation_info")
    }

    #[getter]
    fn to_json<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::viewed(slf, "to_json")
    }
}
