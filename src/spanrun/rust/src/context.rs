//! OpenTelemetry's contexts: which span is the current one, and what is around it.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::names::{Names, names};
use crate::span::Span;

/// What a context has above a new span.
pub enum Above<'py> {
    Nothing,
    Ours(Bound<'py, Span>),
    Other,
}

/// The span in a context. One that has ended is no parent where the context says what is
/// outside of its unit; then that counts instead.
pub fn above<'py>(context: &Bound<'py, PyAny>) -> PyResult<(Above<'py>, Bound<'py, PyAny>)> {
    let names = names(context.py())?;
    let py = context.py();
    let mut context = context.clone();
    loop {
        let Ok(dict) = context.cast::<PyDict>() else {
            return Ok((Above::Other, context));
        };
        let Some(found) = dict.get_item(names.current_span.bind(py))? else {
            return Ok((Above::Nothing, context));
        };
        let Ok(span) = found.cast_exact::<Span>() else {
            let is_none = found.is_none() || found.is(&names.invalid_span);
            let above = if is_none {
                Above::Nothing
            } else {
                Above::Other
            };
            return Ok((above, context));
        };
        if span.get().is_open() {
            return Ok((Above::Ours(span.clone()), context));
        }
        let outside = outside_of(names, dict, &found)?;
        match outside {
            Some(outside) => context = outside,
            None => return Ok((Above::Ours(span.clone()), context)),
        }
    }
}

/// A context in which `span` is the current one, within `outside`.
pub fn inside<'py>(
    span: &Bound<'py, Span>,
    outside: &Bound<'py, PyAny>,
    attempt: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let dict = copied(outside)?;
    fill(&dict, span, outside, attempt)?;
    Ok(dict.into_any())
}

/// A copy of a context, to be filled.
///
/// Not of the class `Context`, an instance of which costs four times as much: all that is
/// more is that it refuses to be changed.
pub fn copied<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    context.cast::<PyDict>()?.copy()
}

/// Make `dict`, a copy of `outside`, the context in which `span` is the current one.
pub fn fill<'py>(
    dict: &Bound<'py, PyDict>,
    span: &Bound<'py, Span>,
    outside: &Bound<'py, PyAny>,
    attempt: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = span.py();
    let names = names(py)?;
    dict.set_item(names.current_span.bind(py), span)?;
    dict.set_item(names.outside.bind(py), (span, outside))?;
    if let Some(attempt) = attempt {
        dict.set_item(names.attempt.bind(py), attempt)?;
    }
    Ok(())
}

/// The innermost context, from `context` outwards, whose unit is open.
pub fn open_context<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let names = names(context.py())?;
    let mut context = context.clone();
    while let Ok(dict) = context.cast::<PyDict>() {
        let Some(found) = dict.get_item(names.current_span.bind(dict.py()))? else {
            break;
        };
        let is_over = found
            .cast_exact::<Span>()
            .is_ok_and(|span| !span.get().is_open());
        match outside_of(names, dict, &found)? {
            Some(outside) if is_over => context = outside,
            _ => break,
        }
    }
    Ok(context)
}

/// What is outside of the unit that `span`, of `context`, is the span of.
fn outside_of<'py>(
    names: &Names,
    context: &Bound<'py, PyDict>,
    span: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(way) = context.get_item(names.outside.bind(context.py()))? else {
        return Ok(None);
    };
    match way.cast::<PyTuple>() {
        Ok(way) if way.len() == 2 && way.get_item(0)?.is(span) => Ok(Some(way.get_item(1)?)),
        _ => Ok(None),
    }
}
