//! How a span begins: its parent, its trace, and what it is given at once.

use std::sync::Arc;

use pyo3::PyClass;
use pyo3::PyClassInitializer;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};

use crate::context::{Above, above};
use crate::encode::Value;
use crate::fill;
use crate::ids;
use crate::local::Role;
use crate::names::{Context, names};
use crate::record::Record;
use crate::scope::Scope;
use crate::settings::Settings;
use crate::span::{Parent, Span, Trace};
use crate::tail::{Local, Tail};
use crate::texts::{self, Key};
use crate::value;
use crate::verdicts::Verdicts;

const RANDOM: u64 = (1 << 56) - 1; // of a trace id, by which it is drawn
const SAMPLED: u8 = 1;
const INTERNAL: u8 = 1; // a kind, as OTLP has it

/// What the caller says of a span that begins.
pub struct Started<'a, 'py> {
    pub name: &'a Bound<'py, PyAny>,
    /// The name as it is shown, where that is known.
    pub shown: Option<&'a Arc<str>>,
    /// None: internal.
    pub kind: Option<&'a Bound<'py, PyAny>>,
    pub begun: Option<f64>,
    /// The attribute that has its name as well, the first one.
    pub named: Option<&'static Key<'static>>,
    pub attributes: Option<&'a Bound<'py, PyAny>>,
    pub links: Option<&'a Bound<'py, PyAny>>,
    pub start_ns: Option<&'a Bound<'py, PyAny>>,
    /// The run that it hangs on though it is no child of its.
    pub anchored: Option<&'a Bound<'py, Span>>,
    pub role: Role,
}

impl<'a, 'py> Started<'a, 'py> {
    /// One that has nothing more than these.
    pub fn new(name: &'a Bound<'py, PyAny>, begun: f64) -> Self {
        Started {
            name,
            shown: None,
            kind: None,
            begun: Some(begun),
            named: None,
            attributes: None,
            links: None,
            start_ns: None,
            anchored: None,
            role: Role::Any,
        }
    }

    /// What its trace waits in, as one that begins here and wasn't drawn.
    fn local(&self) -> Arc<Local> {
        let run = self.anchored.map(Bound::get);
        let above = run.and_then(|run| Some((run.trace.local.clone()?, run.id)));
        Arc::new(Local::new(self.role, above))
    }
}

/// Start a span below the one in `context`, or a trace.
pub fn start<'py>(
    scope: &Bound<'py, Scope>,
    started: &Started<'_, 'py>,
    context: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = scope.py();
    let this = scope.get();
    ids::notice_fork(py); // which changes the settings
    let settings = this.settings();
    let (above, context) = above(context)?;
    let span = match (above, settings.threshold) {
        (Above::Ours(parent), _) if settings.follow => {
            let id = draw_span_id(this, &settings, py)?;
            let above = parent.get();
            let (trace, is_top) = below(py, above, started.role);
            let parent = Parent::Ours(above.id);
            let tops = (false, is_top);
            span(scope, started, trace, id, parent, tops, &settings)?
        }
        (Above::Nothing, Some(threshold)) => {
            let trace_id = draw_trace_id(this, &settings, py)?;
            let is_drawn = trace_id as u64 & RANDOM >= threshold;
            let root = &settings.root[usize::from(!is_drawn)];
            let trace = Arc::new(Trace {
                id: trace_id,
                flags: root.flags,
                state: root.state.clone_ref(py),
                header: root.header.clone(),
                anchor: anchor(this, started, py)?,
                local: (!is_drawn && settings.tail.is_some()).then(|| started.local()),
            });
            let id = draw_span_id(this, &settings, py)?;
            let tops = (true, true);
            span(scope, started, trace, id, Parent::None, tops, &settings)?
        }
        _ => return ask(this, &settings, started, &context),
    };
    let span = untracked(py, span)?;
    if settings.on_start.is_some() {
        tell(this, &settings, &span, Some(&context))?;
    }
    Ok(span.into_any())
}

/// Start a span of ours below `parent`, with what `record` has. `context` is what it
/// begins in. None where that isn't decided by its parent alone.
pub fn child<'py>(
    scope: &Bound<'py, Scope>,
    parent: &Bound<'py, Span>,
    begun: f64,
    record: Record<Py<PyAny>>,
    context: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, Span>>> {
    let (py, this) = (scope.py(), scope.get());
    ids::notice_fork(py); // which changes the settings
    let settings = this.settings();
    if !settings.follow {
        return Ok(None);
    }
    let above = parent.get();
    let trace = above.trace.clone();
    let start = trace.wall(begun);
    let id = draw_span_id(this, &settings, py)?;
    let (owner, above) = (scope.clone().unbind(), Parent::Ours(above.id));
    let generation = settings.generation;
    let tops = (false, false);
    let span = Span::new(
        owner, trace, id, above, INTERNAL, start, tops, generation, record,
    );
    let span = untracked(py, span)?;
    if settings.on_start.is_some() {
        tell(this, &settings, &span, Some(context))?;
    }
    Ok(Some(span))
}

/// Start a span on which the caller has decided.
pub fn make<'py>(
    scope: &Bound<'py, Scope>,
    started: &Started<'_, 'py>,
    trace_id: u128,
    parent: Option<&Bound<'py, PyAny>>,
    flags: u8,
    state: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, Span>> {
    let py = scope.py();
    let this = scope.get();
    ids::notice_fork(py);
    let settings = this.settings();
    let state = if state.is_none() {
        names(py)?.default_state.bind(py)
    } else {
        state
    };
    let is_followed = settings.tail.as_ref().filter(|_| flags & SAMPLED == 0);
    let ours = parent.and_then(|parent| parent.cast::<Span>().ok());
    let join = |tail: &Py<Tail>, is_top| tail.get().with(|all| all.join(trace_id, is_top));
    let (parent, is_root, is_top, local, anchored) = match (parent, ours) {
        (Some(_), Some(parent)) => {
            let above = parent.get();
            let same = above.trace.id == trace_id;
            let (known, is_top) = below(py, above, started.role);
            let known = known.local.clone().filter(|_| same);
            let local = is_followed.map(|tail| known.unwrap_or_else(|| join(tail, false)));
            let anchored = Some(above.trace.anchor);
            (
                Parent::Ours(above.id),
                false,
                is_top && same,
                local,
                anchored,
            )
        }
        (Some(context), None) => {
            let known = Context::of(context)?;
            // A run is decided on by itself, whoever else is in the trace.
            let is_top = known.is_remote || started.role == Role::Run;
            let local = is_followed.map(|tail| match started.role {
                Role::Run => started.local(),
                _ => join(tail, is_top),
            });
            let parent = Parent::Context {
                id: known.span_id,
                is_remote: known.is_remote,
                context: context.clone().unbind(),
            };
            (parent, known.is_remote, is_top, local, None)
        }
        (None, _) => {
            let local = is_followed.map(|_| started.local());
            (Parent::None, true, true, local, None)
        }
    };
    let trace = Arc::new(Trace {
        id: trace_id,
        flags,
        header: header(this, state)?,
        state: state.clone().unbind(),
        anchor: match anchored {
            Some(anchor) => anchor,
            None => anchor(this, started, py)?,
        },
        local,
    });
    let id = draw_span_id(this, &settings, py)?;
    let span = untracked(
        py,
        span(
            scope,
            started,
            trace,
            id,
            parent,
            (is_root, is_top),
            &settings,
        )?,
    )?;
    if settings.on_start.is_some() {
        tell(this, &settings, &span, context)?;
    }
    Ok(span)
}

/// A tracestate as it is written.
pub fn header(scope: &Scope, state: &Bound<'_, PyAny>) -> PyResult<Arc<str>> {
    let py = state.py();
    if state.is(&names(py)?.default_state) {
        return Ok("".into());
    }
    let header = state.is_truthy().and_then(|has_any| {
        if !has_any {
            return Ok("".into());
        }
        let header = state.call_method0("to_header")?;
        let header = header.cast::<PyString>()?;
        Ok(value::text(header, texts::MAX_LENGTH).as_ref().into())
    });
    scope.or_failed(py, header, "".into())
}

#[allow(clippy::too_many_arguments)] // as `Span::new`
fn span(
    scope: &Bound<'_, Scope>,
    started: &Started<'_, '_>,
    trace: Arc<Trace>,
    id: u64,
    parent: Parent,
    (is_root, is_top): (bool, bool),
    settings: &Settings,
) -> PyResult<Span> {
    let py = scope.py();
    let this = scope.get();
    let start = match (started.start_ns, started.begun) {
        (Some(given), _) => value::nanoseconds(given),
        (None, Some(begun)) => trace.wall(begun),
        (None, None) => trace.wall(this.reading(py)?),
    };
    let shown = match started.shown {
        Some(shown) => shown.clone(),
        None => fill::name(this, started.name)?,
    };
    let mut record = Record::new(shown);
    if let Some(key) = started.named {
        record.attributes.reserve(4);
        let name = record.name.clone();
        fill::set(&mut record, this, key, Value::Text(&name));
    }
    if let Some(attributes) = started.attributes {
        fill::attributes(this, attributes, &mut record)?;
    }
    if let Some(links) = started.links {
        for link in fill::links(this, links)? {
            drop(record.add_link(link, this.limits.links()));
        }
    }
    let kind = match started.kind {
        Some(kind) => kind
            .extract::<u8>()
            .map_or(0, |kind| if kind < 5 { kind + 1 } else { 0 }),
        None => INTERNAL,
    };
    hang_on(started, &trace, id, is_top, settings);
    Ok(Span::new(
        scope.clone().unbind(),
        trace,
        id,
        parent,
        kind,
        start,
        (is_root, is_top),
        settings.generation,
        record,
    ))
}

/// The trace of a span below `parent`, and whether it is decided on apart.
fn below(py: Python<'_>, parent: &Span, role: Role) -> (Arc<Trace>, bool) {
    let trace = &parent.trace;
    if role == Role::Any {
        return (trace.clone(), false);
    }
    match &trace.local {
        None => (trace.clone(), true),
        Some(local) => match Local::apart(local, role, parent.id) {
            Some(local) => (Arc::new(trace.apart(py, local)), true),
            None => (trace.clone(), false),
        },
    }
}

/// Keep what must be there beside a span that begins: a run itself; and the run of one
/// that is drawn.
fn hang_on(started: &Started<'_, '_>, trace: &Trace, id: u64, is_top: bool, settings: &Settings) {
    let Some(tail) = settings.tail.as_ref().filter(|_| is_top) else {
        return;
    };
    match (&trace.local, started.anchored.map(Bound::get)) {
        (Some(local), _) if started.role == Role::Run => {
            tail.get().with(|all| all.begin_run(local, id));
        }
        (None, Some(run)) if trace.flags & SAMPLED != 0 => {
            if let Some(local) = &run.trace.local {
                tail.get().with(|_| Verdicts::want(local, run.id));
            }
        }
        _ => {}
    }
}
/// Make it an object of Python, of which the garbage collector need not know: it refers
/// to nothing that could refer to it.
pub fn untracked<'py, T>(py: Python<'py>, made: T) -> PyResult<Bound<'py, T>>
where
    T: PyClass + Into<PyClassInitializer<T>>,
{
    let made = Bound::new(py, made)?;
    // SAFETY: PyO3 makes all its objects such that the collector tracks.
    unsafe { pyo3::ffi::PyObject_GC_UnTrack(made.as_ptr().cast()) };
    Ok(made)
}

/// Let somebody else decide; where that fails, nothing is recorded.
fn ask<'py>(
    scope: &Scope,
    settings: &Settings,
    started: &Started<'_, 'py>,
    context: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = context.py();
    let nothing = names(py)?.invalid_span.bind(py);
    let Some(ask) = &settings.ask else {
        return Ok(nothing.clone());
    };
    let named = PyDict::new(py);
    named.set_item("start_ns", started.start_ns)?;
    named.set_item("anchored", started.anchored)?;
    named.set_item("role", started.role as u8)?;
    let links = match started.links {
        Some(links) => links.clone(),
        None => PyTuple::empty(py).into_any(),
    };
    let attributes = match started.named {
        Some(key) => {
            let all = PyDict::new(py);
            all.set_item(&*key.text, started.name)?;
            if let Some(attributes) = started.attributes {
                all.update(attributes.cast::<PyMapping>()?)?;
            }
            Some(all.into_any())
        }
        None => started.attributes.cloned(),
    };
    let kind = match started.kind {
        Some(kind) => kind.clone(),
        None => 0_u8.into_pyobject(py)?.into_any(),
    };
    let arguments = (
        started.name,
        kind,
        context,
        started.begun,
        attributes,
        links,
    );
    let asked = ask.bind(py).call(arguments, Some(&named));
    scope.or_failed(py, asked, nothing.clone())
}

fn tell(
    scope: &Scope,
    settings: &Settings,
    span: &Bound<'_, Span>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = span.py();
    let Some(on_start) = &settings.on_start else {
        return Ok(());
    };
    let told = on_start.call1(py, (span, context)).map(drop);
    scope.or_failed(py, told, ())
}

fn anchor(scope: &Scope, started: &Started<'_, '_>, py: Python<'_>) -> PyResult<i64> {
    match started.anchored {
        Some(span) => Ok(span.get().trace.anchor),
        None => scope.anchor(py),
    }
}

fn draw_span_id(scope: &Scope, settings: &Settings, py: Python<'_>) -> PyResult<u64> {
    let Some(bits) = &settings.bits else {
        return Ok(ids::span_id(py));
    };
    let drawn = bits.call1(py, (64,)).and_then(|drawn| drawn.extract(py));
    match scope.or_failed(py, drawn, 0)? {
        0 => Ok(1),
        drawn => Ok(drawn),
    }
}

fn draw_trace_id(scope: &Scope, settings: &Settings, py: Python<'_>) -> PyResult<u128> {
    let Some(bits) = &settings.bits else {
        return Ok(ids::trace_id(py));
    };
    let drawn = bits.call1(py, (128,)).and_then(|drawn| drawn.extract(py));
    match scope.or_failed(py, drawn, 0)? {
        0 => Ok(1),
        drawn => Ok(drawn),
    }
}
