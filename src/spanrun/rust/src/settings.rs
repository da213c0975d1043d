//! `Limits` and `Settings`: what a scope was given, at first and later.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::buffer::Buffer;
use crate::tail::Tail;

/// How much a span may hold. None: as many as there are.
#[derive(FromPyObject)]
pub struct Limits(
    pub Option<usize>,
    pub Option<usize>,
    pub Option<usize>,
    pub Option<usize>,
    pub Option<usize>,
    pub usize,
    pub usize,
);

impl Limits {
    pub fn attributes(&self) -> Option<usize> {
        self.0
    }
    pub fn events(&self) -> Option<usize> {
        self.1
    }
    pub fn links(&self) -> Option<usize> {
        self.2
    }
    pub fn event_attributes(&self) -> Option<usize> {
        self.3
    }
    pub fn link_attributes(&self) -> Option<usize> {
        self.4
    }
    /// Characters of a value of the span.
    pub fn length(&self) -> usize {
        self.5
    }
    /// Characters of a value of an event or a link.
    pub fn inner_length(&self) -> usize {
        self.6
    }
}

/// What a new trace begins with.
pub struct Root {
    pub flags: u8,
    pub state: Py<PyAny>,
    pub header: Arc<str>,
}

/// What may be set anew. Who works with it has one for all of an operation.
pub struct Settings {
    pub buffer: Option<Py<Buffer>>,
    pub tail: Option<Py<Tail>>,
    pub on_start: Option<Py<PyAny>>,
    pub on_end: Option<Py<PyAny>>,
    pub follow: bool,
    pub threshold: Option<u64>,
    /// Of a trace that is drawn, and of one that isn't.
    pub root: [Arc<Root>; 2],
    pub bits: Option<Py<PyAny>>,
    pub ask: Option<Py<PyAny>>,
    /// How often this process was forked off: a span of before is its parent's.
    pub generation: u32,
}

impl Settings {
    /// The same once more, to be changed.
    pub fn copy(&self, py: Python<'_>) -> Self {
        Settings {
            buffer: self.buffer.as_ref().map(|it| it.clone_ref(py)),
            tail: self.tail.as_ref().map(|it| it.clone_ref(py)),
            on_start: self.on_start.as_ref().map(|it| it.clone_ref(py)),
            on_end: self.on_end.as_ref().map(|it| it.clone_ref(py)),
            follow: self.follow,
            threshold: self.threshold,
            root: self.root.clone(),
            bits: self.bits.as_ref().map(|it| it.clone_ref(py)),
            ask: self.ask.as_ref().map(|it| it.clone_ref(py)),
            generation: self.generation,
        }
    }
}
