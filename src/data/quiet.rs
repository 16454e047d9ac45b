//! Panics of a dependency as values.

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static QUIET: AtomicUsize = AtomicUsize::new(0);

/// What `f` returns; None if it panics. The panic's own message, which may come from a thread of
/// the dependency's, does not go to the terminal.
pub fn quietly<T>(f: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    // One hook for good: setting and resetting it around every call would let two callers at the
    // same time leave each other's behind.
    HOOK.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.load(Ordering::SeqCst) == 0 {
                told(info);
            }
        }));
    });
    QUIET.fetch_add(1, Ordering::SeqCst);
    let caught = catch_unwind(AssertUnwindSafe(f));
    QUIET.fetch_sub(1, Ordering::SeqCst);
    caught.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none() {
        assert_eq!(quietly(|| 3), Some(3));
        assert_eq!(quietly(|| -> u8 { panic!("not to be seen") }), None);
    }
}
