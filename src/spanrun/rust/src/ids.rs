//! Random ids, from another seed in each process.
//!
//! A child that goes on with its parent's state draws its parent's next ids. Python
//! tells of its own forks and hears of no others; the C library hears of all, but in the
//! child nothing is safe just then but to take note. So who draws first in a child asks
//! for a seed, which is also how the rest of spanrun hears of a fork.
//!
//! The numbers are those of xoshiro256** 1.0, by Blackman and Vigna.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::lock;

static PROCESS: AtomicU64 = AtomicU64::new(1); // another number in each child
static SEEDED: AtomicU64 = AtomicU64::new(0); // the process that the source is seeded for
static SOURCE: Mutex<Source> = Mutex::new(Source {
    state: [1, 2, 3, 4],
});

struct Source {
    state: [u64; 4],
}

impl Source {
    fn next(&mut self) -> u64 {
        let state = &mut self.state;
        let drawn = state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        drawn
    }

    fn id(&mut self) -> u64 {
        self.next().max(1)
    }
}

/// Draw a span id.
pub fn span_id(py: Python<'_>) -> u64 {
    draw(py, Source::id)
}

/// Draw a trace id.
pub fn trace_id(py: Python<'_>) -> u128 {
    draw(py, |source| {
        u128::from(source.next()) << 64 | u128::from(source.id())
    })
}

fn draw<T>(py: Python<'_>, from: impl Fn(&mut Source) -> T) -> T {
    notice_fork(py);
    from(&mut lock(&SOURCE))
}

/// Begin anew, if this is a child that nobody told of its fork: here it is the first that
/// spanrun hears of it. Costs next to nothing, as it is done for each span.
pub fn notice_fork(py: Python<'_>) {
    if SEEDED.load(Ordering::Relaxed) != PROCESS.load(Ordering::Relaxed) {
        renew(py);
    }
}

fn renew(py: Python<'_>) {
    let here = PROCESS.load(Ordering::Relaxed);
    // An interpreter that is ending may have no modules any more: that harms no program.
    let _ = py
        .import("spanrun.telemetry.forks")
        .and_then(|forks| forks.call_method0("notice_fork"));
    let seed = seed(py).unwrap_or_else(|_| unlikely_seed());
    lock(&SOURCE).state = seed;
    SEEDED.store(here, Ordering::Relaxed);
}

fn seed(py: Python<'_>) -> PyResult<[u64; 4]> {
    let drawn = py.import("os")?.call_method1("urandom", (32,))?;
    let bytes: [u8; 32] = drawn.extract()?;
    let mut seed = [0; 4];
    for (word, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Ok(seed)
}

/// Where the system has no random numbers: the time and the process.
fn unlikely_seed() -> [u64; 4] {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let process = u64::from(std::process::id());
    [
        since.as_secs(),
        u64::from(since.subsec_nanos()),
        process,
        !process,
    ]
}

/// Draw ``size`` (64 or 128) random bits; never 0, and anew after a fork.
#[pyfunction]
pub fn random_bits(py: Python<'_>, size: u32) -> PyResult<u128> {
    match size {
        64 => Ok(u128::from(span_id(py))),
        128 => Ok(trace_id(py)),
        _ => Err(PyValueError::new_err(format!(
            "random_bits({size}): must be 64 or 128"
        ))),
    }
}

/// Draw from another seed from now on, as a forked child must.
#[pyfunction]
pub fn reseed(py: Python<'_>) {
    renew(py);
}

/// Have the C library tell each forked child that it is another process.
pub fn watch_forks() {
    #[cfg(unix)]
    {
        use std::sync::Once;
        static WATCHED: Once = Once::new();
        // SAFETY: the function is the C library's, with this signature, and what it is
        // given does nothing in the child but add to an atomic number.
        WATCHED.call_once(|| unsafe {
            pthread_atfork(None, None, Some(in_child));
        });
    }
}

#[cfg(unix)]
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> std::ffi::c_int;
}

#[cfg(unix)]
extern "C" fn in_child() {
    PROCESS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        let mut source = Source {
            state: [1, 2, 3, 4],
        };
        let drawn: Vec<u64> = (0..5).map(|_| source.next()).collect();
        assert_eq!(
            drawn,
            [
                11520,
                0,
                1_509_978_240,
                1_215_971_899_390_074_240,
                1_216_172_134_540_287_360
            ]
        );
    }

    #[test]
    fn an_id_is_never_zero() {
        let mut source = Source {
            state: [1, 0, 3, 4],
        };
        assert_eq!(source.id(), 1);
    }
}
