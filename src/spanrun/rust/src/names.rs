//! What this needs of OpenTelemetry and of spanrun's Python, looked up once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

/// Objects and classes of Python.
pub struct Names {
    /// The keys under which a context has its span, and what is outside of its unit.
    pub current_span: Py<PyAny>,
    pub outside: Py<PyAny>,
    pub attempt: Py<PyAny>,
    /// What gives the current context, and what makes another one current.
    pub current: Py<PyAny>,
    pub make_current: Py<PyAny>,
    pub invalid_span: Py<PyAny>,
    pub default_state: Py<PyAny>,
    pub span_context: Py<PyAny>,
    /// The SDK's class of spans.
    pub sdk_span: Py<PyAny>,
    pub status: Py<PyAny>,
    pub unset: Py<PyAny>,
    pub ok: Py<PyAny>,
    pub error: Py<PyAny>,
    trace_flags: Py<PyAny>,
    /// Of the numbers 0 to 3.
    flags: [Py<PyAny>; 4],
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

/// All of them.
pub fn names(py: Python<'_>) -> PyResult<&Names> {
    NAMES.get_or_try_init(py, || Names::import(py))
}

impl Names {
    fn import(py: Python<'_>) -> PyResult<Self> {
        let trace = py.import("opentelemetry.trace")?;
        let current = py.import("spanrun.telemetry.current")?;
        let codes = trace.getattr("StatusCode")?;
        let trace_flags = trace.getattr("TraceFlags")?;
        let of = |number: u8| trace_flags.call1((number,)).map(Bound::unbind);
        Ok(Names {
            current_span: current.getattr("CURRENT_SPAN")?.unbind(),
            outside: current.getattr("OUTSIDE")?.unbind(),
            attempt: current.getattr("ATTEMPT")?.unbind(),
            current: current.getattr("current")?.unbind(),
            make_current: current.getattr("make_current")?.unbind(),
            invalid_span: trace.getattr("INVALID_SPAN")?.unbind(),
            default_state: trace.getattr("DEFAULT_TRACE_STATE")?.unbind(),
            span_context: trace.getattr("SpanContext")?.unbind(),
            sdk_span: py
                .import("opentelemetry.sdk.trace")?
                .getattr("Span")?
                .unbind(),
            status: trace.getattr("Status")?.unbind(),
            unset: codes.getattr("UNSET")?.unbind(),
            ok: codes.getattr("OK")?.unbind(),
            error: codes.getattr("ERROR")?.unbind(),
            flags: [of(0)?, of(1)?, of(2)?, of(3)?],
            trace_flags: trace_flags.unbind(),
        })
    }

    /// A ``SpanContext`` of this process.
    pub fn context<'py>(
        &self,
        py: Python<'py>,
        trace_id: u128,
        span_id: u64,
        flags: u8,
        state: &Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let flags = match self.flags.get(usize::from(flags)) {
            Some(flags) => flags.bind(py).clone(),
            None => self.trace_flags.bind(py).call1((flags,))?,
        };
        self.span_context
            .bind(py)
            .call1((trace_id, span_id, false, flags, state.bind(py)))
    }
}

/// What a ``SpanContext`` says.
pub struct Context {
    pub trace_id: u128,
    pub span_id: u64,
    pub is_remote: bool,
    pub is_valid: bool,
    pub has_state: bool,
}

impl Context {
    /// Of a ``SpanContext``, or something like it.
    pub fn of(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let get = |place: usize, name: &str| match given.cast::<PyTuple>() {
            Ok(tuple) if tuple.len() == 6 => tuple.get_item(place),
            _ => given.getattr(name),
        };
        Ok(Context {
            // An id that is none is zeros.
            trace_id: get(0, "trace_id")?.extract().unwrap_or(0),
            span_id: get(1, "span_id")?.extract().unwrap_or(0),
            is_remote: get(2, "is_remote")?.is_truthy()?,
            has_state: get(4, "trace_state")?.is_truthy()?,
            is_valid: get(5, "is_valid")?.is_truthy()?,
        })
    }
}
