//! Signals that ask a run to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Fault, Result};

/// A flag that the first Ctrl-C, SIGTERM or SIGHUP (the terminal is closed) raises; a second one ends
/// the program at once, which loses nothing but the current epoch. A signal that was ignored when the
/// program was started stays ignored: so `nohup` works, and a job that a script puts in the
/// background.
pub fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let ignored = ignored();
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
    })
    .map_err(|e| Error::from(Fault::failed(format!("signals cannot be handled: {e}"))))?;
    // ctrlc takes them all.
    ignored.into_iter().for_each(ignore);
    Ok(stop)
}

#[cfg(unix)]
type Signal = libc::c_int;
#[cfg(not(unix))]
type Signal = ();

/// Those that ctrlc takes and that are ignored now.
#[cfg(unix)]
fn ignored() -> Vec<Signal> {
    let is_ignored = |signal: &Signal| {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action, sigaction only writes the present one, whose fields are
        // numbers: zeros are a valid value, too.
        let action = unsafe {
            let asked = libc::sigaction(*signal, std::ptr::null(), action.as_mut_ptr());
            (asked == 0).then(|| action.assume_init())
        };
        action.is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
    };
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(is_ignored).collect()
}

#[cfg(unix)]
fn ignore(signal: Signal) {
    // SAFETY: to ignore a signal calls nothing of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[cfg(not(unix))]
fn ignored() -> Vec<Signal> {
    Vec::new()
}

#[cfg(not(unix))]
fn ignore(_: Signal) {}
