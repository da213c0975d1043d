//! `Local`: spans of this process that are kept or left out together.

use std::sync::{Arc, Mutex};

use crate::buffer::Header;

/// Why something is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    Error,
    Retried,
    Slow,
    Exemplar,
    /// It is a run's span.
    Run,
    /// What is kept hangs on it: as a child, or by a link.
    Path,
}

impl Reason {
    /// The value of the attribute.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Error => "error",
            Reason::Retried => "retried",
            Reason::Slow => "slow",
            Reason::Exemplar => "exemplar",
            Reason::Run => "run",
            Reason::Path => "path",
        }
    }
}

/// What a span is, as far as it matters for what is decided on together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Role {
    #[default]
    Any,
    /// Of a run: its jobs are decided on one by one, and it is kept itself.
    Run,
    /// Of a job, or of a batch of them.
    Job,
}

impl Role {
    /// As the interface has it: `RUN` or `JOB`, or any other.
    pub fn of(number: u8) -> Self {
        match number {
            1 => Role::Run,
            2 => Role::Job,
            _ => Role::Any,
        }
    }
}

/// The spans of a trace in this process; or, where the trace has a run's span, those of
/// one of its jobs, or those above.
pub struct Local<S> {
    /// Of its topmost span.
    pub role: Role,
    /// A span that is kept if anything of this is, and where it belongs.
    pub above: Option<(Arc<Local<S>>, u64)>,
    pub state: Mutex<LocalState<S>>,
}

/// What changes of a `Local`.
pub struct LocalState<S> {
    /// Topmost spans that have begun and not ended.
    pub roots: usize,
    pub closed: bool,
    /// All of it is kept.
    pub why: Option<Reason>,
    /// It was to be kept, and the budget was used up.
    pub refused: Option<Reason>,
    /// It is a run's that is kept.
    pub is_run_kept: bool,
    /// Spans that are kept when they end, whatever becomes of the others.
    pub wanted: Vec<u64>,
    /// Others may ask for it by its trace id.
    pub trace_id: Option<u128>,
    /// Its place among those that have spans that wait.
    pub turn: Option<u64>,
    pub waiting: Vec<Waiting<S>>,
    pub data: Vec<u8>,
}

impl<S> LocalState<S> {
    /// Note that a span is wanted.
    pub fn want(&mut self, id: u64) {
        if !self.wanted.contains(&id) {
            self.wanted.push(id);
        }
    }

    /// Why what is wanted is kept.
    pub fn path(&self) -> Reason {
        if self.is_run_kept {
            Reason::Run
        } else {
            Reason::Path
        }
    }

    /// Whether a span is wanted that ends now.
    pub fn take_wanted(&mut self, id: u64) -> bool {
        let found = self.wanted.iter().position(|wanted| *wanted == id);
        found.map(|at| self.wanted.swap_remove(at)).is_some()
    }
}

impl<S> Local<S> {
    /// Of one topmost span, which has begun.
    pub fn new(role: Role, above: Option<(Arc<Local<S>>, u64)>) -> Self {
        Local {
            role,
            above,
            state: Mutex::new(LocalState {
                roots: 1,
                closed: false,
                why: None,
                refused: None,
                is_run_kept: false,
                wanted: Vec::new(),
                trace_id: None,
                turn: None,
                waiting: Vec::new(),
                data: Vec::new(),
            }),
        }
    }

    /// What a span begins that is decided on apart from its parent, which is `id` of
    /// `above`. None where it belongs there: a run in a job does, and a job anywhere
    /// but in a run.
    pub fn apart(above: &Arc<Local<S>>, role: Role, id: u64) -> Option<Arc<Local<S>>> {
        match (role, above.role) {
            (Role::Run, Role::Any | Role::Run) | (Role::Job, Role::Run) => {
                Some(Arc::new(Local::new(role, Some((above.clone(), id)))))
            }
            _ => None,
        }
    }
}

/// A span that waits, in the data of its trace.
pub struct Waiting<S> {
    pub scope: S,
    pub header: Header,
    pub failed: bool,
}

/// Spans that don't wait any longer: kept, or left out.
pub struct Released<S> {
    pub spans: Vec<Waiting<S>>,
    pub data: Vec<u8>,
}

impl<S> Released<S> {
    /// Nothing.
    pub fn none() -> Self {
        Released {
            spans: Vec::new(),
            data: Vec::new(),
        }
    }
}

/// How many spans are left out: those without a reason to be kept, and those for which
/// the budget of their reason was used up.
#[derive(Debug, Default, PartialEq)]
pub struct Out([usize; 4]);

const REASONS: [&str; 4] = ["none", "error", "retried", "slow"];

impl Out {
    /// So many more, which had that reason to be kept.
    pub fn add(&mut self, refused: Option<Reason>, spans: usize) {
        let at = refused.map_or(0, |reason| reason as usize + 1);
        if let Some(count) = self.0.get_mut(at) {
            *count += spans;
        }
    }

    /// Of each reason, how many; without those of which there are none.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let all = REASONS.into_iter().zip(self.0);
        all.filter(|(_, spans)| *spans > 0)
    }

    /// All together.
    #[cfg(test)]
    pub fn all(&self) -> usize {
        self.0.iter().sum()
    }
}
