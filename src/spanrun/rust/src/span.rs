//! `Span`: open, and then bytes.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors;
use crate::fill;
use crate::keys;
use crate::lock;
use crate::record::{self, Identity, Record};
use crate::scope::Scope;
use crate::tail::Local;

/// Flags of the header.
pub const FAILED: u8 = 1;
pub const RETRIED: u8 = 2;
pub const SLOW: u8 = 4;
pub const EXEMPLAR: u8 = 8;
pub const ROOT: u8 = 16;

/// W3C's trace flag of a trace that is drawn.
pub const SAMPLED: u8 = 1;

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
    /// The same trace, with spans that wait apart from the others.
    pub fn apart(&self, py: Python<'_>, local: Arc<Local>) -> Self {
        Trace {
            id: self.id,
            flags: self.flags,
            state: self.state.clone_ref(py),
            header: self.header.clone(),
            anchor: self.anchor,
            local: Some(local),
        }
    }

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
///
/// Its memory is used again: a new object brings the garbage collector nearer, and one
/// that comes in each wave of jobs costs more than their spans do.
#[pyclass(frozen, weakref, freelist = 512, module = "spanrun._core")]
pub struct Span {
    pub scope: Py<Scope>,
    pub trace: Arc<Trace>,
    pub id: u64,
    pub parent: Parent,
    kind: u8,
    pub start: u64,
    /// Its parent isn't a span of this process.
    pub is_root: bool,
    /// The topmost one of those that are decided on together.
    pub is_top: bool,
    pub generation: u32,
    pub context: PyOnceLock<Py<PyAny>>,
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
        (is_root, is_top): (bool, bool),
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
            is_top,
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
    pub fn change<T>(
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
    pub fn open(&self, py: Python<'_>, method: &str) -> PyResult<bool> {
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

    pub fn now(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.trace.wall(self.scope.get().reading(py)?))
    }

    /// Record an exception that leaves its ``with`` block, unless told otherwise.
    pub fn record_raised(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let both = record::RECORD_EXCEPTION | record::SET_STATUS;
        let wanted = lock(&self.record)
            .rare
            .as_ref()
            .map(|rare| rare.on_exception);
        let wanted = wanted.unwrap_or(both);
        if wanted & record::RECORD_EXCEPTION != 0 {
            self.record_exception(error, None, None, true)?;
        }
        if wanted & record::SET_STATUS != 0 {
            let description = errors::description(self.scope.get(), error)?;
            self.change(error.py(), "set_status", |record| {
                record.set_status(record::ERROR, Some(description));
            })?;
        }
        Ok(())
    }

    /// Add an event that happens now.
    pub fn event(
        &self,
        name: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.add_event(name.py(), name, attributes, None)
    }

    pub fn viewed<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        slf.get().scope.get().view_of(slf)?.getattr(name)
    }

    pub fn set(
        &self,
        method: &str,
        key: &Bound<'_, PyAny>,
        given: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
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
