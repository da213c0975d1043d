//! The methods of `Span`: OpenTelemetry's API, and what units need.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::context;
use crate::end;
use crate::errors;
use crate::fill;
use crate::lock;
use crate::names::names;
use crate::record::{self, Event};
use crate::scope::Scope;
use crate::snapshot;
use crate::span::{RETRIED, Span};
use crate::value;

const RETRY: &str = "spanrun.job.retry"; // the event

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
        context::inside(slf, outside, attempt)
    }

    /// The SDK's class of spans that are open, which processors may insist on.
    #[getter(__class__)]
    fn class<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(names(py)?.sdk_span.bind(py).clone())
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
    pub fn add_event(
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
        let status = errors::status(scope, status, description);
        if let Some((code, description)) = scope.or_failed(py, status, None)? {
            self.change(py, "set_status", |record| {
                record.set_status(code, description);
            })?;
        }
        Ok(())
    }

    /// Say that it failed: see `OpenSpan` in Python.
    fn fail(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyString>,
        text: &Bound<'_, PyString>,
        stack: Option<&Bound<'_, PyString>>,
        ended: f64,
    ) -> PyResult<()> {
        if !self.open(py, "fail")? {
            return Ok(());
        }
        let failure = errors::failure(self, kind, text, stack, ended)?;
        let scope = self.scope.get();
        fill::with_value(
            scope,
            errors::type_key(),
            kind,
            scope.limits.length(),
            |value| {
                self.change(py, "fail", |record| {
                    fill::set(record, scope, errors::type_key(), value);
                    record.set_status(record::ERROR, Some(failure.0));
                    if let Some(event) = failure.1 {
                        record.add_event(event, scope.limits.events());
                    }
                })
            },
        )??;
        Ok(())
    }

    /// Add an event ``exception``, by OpenTelemetry's conventions.
    #[pyo3(signature = (exception, attributes = None, timestamp = None, escaped = false))]
    pub fn record_exception(
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
        let all = errors::attributes(scope, exception, attributes, escaped)?;
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
        end::pin(self, py)
    }

    /// End it, at ``end_time`` or now. Only the first call counts.
    #[pyo3(signature = (end_time = None))]
    fn end(slf: &Bound<'_, Self>, end_time: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let ended = match end_time {
            Some(given) => value::nanoseconds(given),
            None => slf.get().now(slf.py())?,
        };
        end::end(slf, ended)
    }

    /// End it, at a reading of the monotonic clock.
    fn finish(slf: &Bound<'_, Self>, ended: f64) -> PyResult<()> {
        end::end(slf, slf.get().trace.wall(ended))
    }

    /// All that is recorded by now, for a view.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        snapshot::snapshot(self, py)
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
        let recorded = if !error.is_none() && this.is_open() {
            this.record_raised(error)
        } else {
            Ok(())
        };
        recorded.and(Span::end(slf, None))
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
