//! Catches panics of a dependency, without their message on the terminal.
//!
//! Only threads that run the dependency are silenced. If another thread panics meanwhile, that is a
//! bug of this program, and its message must be shown.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

thread_local! {
    /// Number of active calls of [`quietly`] on this thread.
    static QUIET: Cell<usize> = const { Cell::new(0) };
}

/// Number of active calls of [`quietly_with_threads`] in the whole program.
static WITH_THREADS: AtomicUsize = AtomicUsize::new(0);
/// Prefix of the names of polars' threads: `polars-0`, `polars-1`, …
const POLARS: &str = "polars-";

/// Runs `f` and returns its result; None if it panics.
pub fn quietly<T>(f: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    // The hook is set once and stays. If each call set and reset it, two concurrent calls could
    // leave the wrong hook behind.
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_quiet() {
                before(info);
            }
        }));
    });
    QUIET.set(QUIET.get() + 1);
    let caught = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(QUIET.get() - 1);
    caught.ok()
}

/// The same if `f` also uses the threads of polars.
pub fn quietly_with_threads<T>(f: impl FnOnce() -> T) -> Option<T> {
    WITH_THREADS.fetch_add(1, Ordering::SeqCst);
    let result = quietly(f);
    WITH_THREADS.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Whether the message of a panic on this thread is hidden.
fn is_quiet() -> bool {
    let of_polars = || thread::current().name().is_some_and(|name| name.starts_with(POLARS));
    QUIET.get() > 0 || (WITH_THREADS.load(Ordering::SeqCst) > 0 && of_polars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_returns_none() {
        assert_eq!(quietly(|| 3), Some(3));
        assert_eq!(quietly(|| -> u8 { panic!("not to be seen") }), None);
    }

    #[test]
    fn only_threads_of_the_dependency_are_silenced() {
        let of_thread = |name: &str| {
            thread::Builder::new().name(name.into()).spawn(is_quiet).unwrap().join().unwrap()
        };
        quietly(|| {
            assert!(is_quiet() && quietly(is_quiet).unwrap() && is_quiet());
            assert!(!of_thread("other"));
        })
        .unwrap();
        assert!(!is_quiet());
        quietly_with_threads(|| assert!(is_quiet() && of_thread("polars-3") && !of_thread("x")))
            .unwrap();
    }
}
