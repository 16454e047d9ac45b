//! Signals that stop a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Fault, Result};

/// Set by the first signal.
static STOP: AtomicBool = AtomicBool::new(false);

/// A signal that comes sooner after the first belongs to it: `timeout` and schedulers send several.
const AGAIN: Duration = Duration::from_secs(2);

/// Returns a flag that is set by the first Ctrl-C, SIGTERM, SIGHUP (terminal closed) or SIGUSR1 (a
/// scheduler's warning that time is up). A second Ctrl-C, SIGTERM or SIGHUP, [`AGAIN`] later, ends the
/// program at once, which loses what was trained since the last checkpoint. Signals that were ignored at
/// program start stay ignored, so that `nohup` and background jobs of scripts work.
pub fn stop_on_signal() -> Result<&'static AtomicBool> {
    let ignored = ignored();
    let mut first = None;
    ctrlc::set_handler(move || {
        STOP.store(true, Ordering::Relaxed);
        if first.get_or_insert_with(Instant::now).elapsed() >= AGAIN {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
    })
    .map_err(|e| Error::from(Fault::failed(format!("signals cannot be handled: {e}"))))?;
    stop_on_warning();
    // All handlers were replaced.
    ignored.into_iter().for_each(ignore);
    Ok(&STOP)
}

/// Schedulers repeat their warning, so a second SIGUSR1 does no more than the first.
#[cfg(unix)]
fn stop_on_warning() {
    extern "C" fn stop(_: Signal) {
        STOP.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only stores to an atomic, which a handler may do at any moment.
    unsafe { libc::signal(libc::SIGUSR1, stop as extern "C" fn(Signal) as libc::sighandler_t) };
}

#[cfg(not(unix))]
fn stop_on_warning() {}

#[cfg(unix)]
type Signal = libc::c_int;
#[cfg(not(unix))]
type Signal = ();

/// The handled signals that are currently ignored.
#[cfg(unix)]
fn ignored() -> Vec<Signal> {
    let is_ignored = |signal: &Signal| {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action, sigaction only writes the current one. Its fields are
        // numbers, so zeros are also a valid value.
        let action = unsafe {
            let asked = libc::sigaction(*signal, std::ptr::null(), action.as_mut_ptr());
            (asked == 0).then(|| action.assume_init())
        };
        action.is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
    };
    let handled = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];
    handled.into_iter().filter(is_ignored).collect()
}

#[cfg(unix)]
fn ignore(signal: Signal) {
    // SAFETY: SIG_IGN installs no handler of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[cfg(not(unix))]
fn ignored() -> Vec<Signal> {
    Vec::new()
}

#[cfg(not(unix))]
fn ignore(_: Signal) {}
