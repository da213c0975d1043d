//! `Buffer`: encoded spans, one behind the other, until they are taken.

use std::sync::Mutex;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyValueError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::lock;
use crate::scope::Scope;

/// What stands beside each span: its trace id, its duration in nanoseconds, its length
/// in the data, and flags.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    pub trace_id: u128,
    pub duration: u64,
    pub size: u32,
    pub flags: u8,
}

impl Header {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.trace_id.to_be_bytes());
        out.extend_from_slice(&self.duration.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&[self.flags, 0, 0, 0]);
    }
}

/// Ended spans of one scope, taken out of a `Buffer`.
#[pyclass(frozen, get_all, module = "spanrun._core")]
pub struct Batch {
    scope: Py<Scope>,
    data: Py<PyBytes>,
    headers: Py<PyBytes>,
    spans: usize,
    failed: bool,
}

/// Spans that wait, of one scope, all of which failed or none.
struct Group {
    scope: Py<Scope>,
    failed: bool,
    data: Vec<u8>,
    headers: Vec<u8>,
    spans: usize,
}

#[derive(Default)]
struct Pending {
    groups: Vec<Group>,
    /// The memory of groups that were taken, to be used again: data and headers, of
    /// those that didn't fail and of those that did.
    spare: [(Vec<u8>, Vec<u8>); 2],
    /// Of those that didn't fail, and of those that did.
    sizes: [usize; 2],
    spans: usize,
    /// `begun` was called, and nothing was taken since.
    begun: bool,
    /// `full` is being called.
    filling: bool,
}

/// Collects the encoded spans of one scope until they are taken.
#[pyclass(frozen, weakref, module = "spanrun._core")]
pub struct Buffer {
    begun: Py<PyAny>,
    full: Py<PyAny>,
    most: usize,
    pending: Mutex<Pending>,
}

/// Who is to be told of what was put.
#[must_use]
#[derive(Clone, Copy, PartialEq)]
pub enum Notice {
    Nobody,
    Begun,
    Full,
}

impl Buffer {
    /// Put one span, which `encode` appends; it returns the header, whose size is set
    /// here. No Python code may run in `encode`.
    pub fn put(
        &self,
        scope: &Py<Scope>,
        py: Python<'_>,
        failed: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Header,
    ) -> Notice {
        let mut pending = lock(&self.pending);
        let found = pending
            .groups
            .iter()
            .position(|group| group.failed == failed && group.scope.is(scope));
        let at = found.unwrap_or_else(|| {
            let (data, headers) = std::mem::take(&mut pending.spare[usize::from(failed)]);
            pending.groups.push(Group {
                scope: scope.clone_ref(py),
                failed,
                data,
                headers,
                spans: 0,
            });
            pending.groups.len() - 1
        });
        let Some(group) = pending.groups.get_mut(at) else {
            return Notice::Nobody;
        };
        let before = group.data.len();
        let mut header = encode(&mut group.data);
        let size = group.data.len() - before;
        header.size = u32::try_from(size).unwrap_or(u32::MAX);
        header.write(&mut group.headers);
        group.spans += 1;
        pending.sizes[usize::from(failed)] += size;
        pending.spans += 1;
        if pending.sizes[usize::from(failed)] > self.most && !pending.filling {
            pending.filling = true;
            Notice::Full
        } else if !pending.begun && !pending.filling {
            pending.begun = true;
            Notice::Begun
        } else {
            Notice::Nobody
        }
    }

    /// Call whom `notice` says. No lock may be held.
    pub fn tell(slf: &Bound<'_, Self>, notice: Notice) -> PyResult<()> {
        let this = slf.get();
        match notice {
            Notice::Nobody => Ok(()),
            Notice::Begun => {
                let told = this.begun.call1(slf.py(), (slf,));
                if told.is_err() {
                    lock(&this.pending).begun = false;
                }
                told.map(drop)
            }
            Notice::Full => {
                let told = this.full.call1(slf.py(), (slf,));
                lock(&this.pending).filling = false;
                told.map(drop)
            }
        }
    }
}

#[pymethods]
impl Buffer {
    #[new]
    fn new(begun: Py<PyAny>, full: Py<PyAny>, most: isize) -> PyResult<Self> {
        match usize::try_from(most) {
            Ok(most) if most > 0 => Ok(Buffer {
                begun,
                full,
                most,
                pending: Mutex::default(),
            }),
            _ => Err(PyValueError::new_err(format!(
                "Buffer(most={most}): must be above 0"
            ))),
        }
    }

    /// Spans that wait.
    #[getter]
    fn waiting(&self) -> usize {
        lock(&self.pending).spans
    }

    /// Take what waits: the failed spans, and the others. Where that is `for_room`, only
    /// those of the two that are too many: few would be a small message each time.
    #[pyo3(signature = (*, for_room = false))]
    fn take(&self, py: Python<'_>, for_room: bool) -> Vec<Batch> {
        let groups: Vec<Group> = {
            let mut pending = lock(&self.pending);
            let goes = pending.sizes.map(|size| !for_room || size > self.most);
            let all = std::mem::take(&mut pending.groups).into_iter();
            let (taken, left) = all.partition(|group| goes[usize::from(group.failed)]);
            pending.groups = left;
            for (size, _) in pending.sizes.iter_mut().zip(goes).filter(|(_, goes)| *goes) {
                *size = 0;
            }
            pending.spans = pending.groups.iter().map(|group| group.spans).sum();
            pending.begun &= for_room;
            taken
        };
        let mut batches = Vec::new();
        let mut spare: [(Vec<u8>, Vec<u8>); 2] = Default::default();
        for mut group in groups {
            batches.push(Batch {
                data: PyBytes::new(py, &group.data).unbind(),
                headers: PyBytes::new(py, &group.headers).unbind(),
                scope: group.scope,
                spans: group.spans,
                failed: group.failed,
            });
            let spare = &mut spare[usize::from(group.failed)];
            if (spare.0.capacity()..=2 * self.most).contains(&group.data.capacity()) {
                group.data.clear();
                group.headers.clear();
                *spare = (group.data, group.headers);
            }
        }
        for (kept, spare) in lock(&self.pending).spare.iter_mut().zip(spare) {
            if spare.0.capacity() > kept.0.capacity() {
                *kept = spare;
            }
        }
        batches
    }

    /// In a child process: what waits is its parent's, and none of its threads is in
    /// `full` here.
    fn after_fork(&self) {
        let left = std::mem::take(&mut *lock(&self.pending));
        drop(left); // without the lock: a scope may go with it
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.begun)?;
        visit.call(&self.full)
    }
}
