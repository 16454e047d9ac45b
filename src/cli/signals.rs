//! Signals that stop a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Fault, Result};

/// Returns a flag that is set by the first Ctrl-C, SIGTERM or SIGHUP (terminal closed). A second
/// signal ends the program at once, which loses only the current epoch. Signals that were ignored
/// at program start stay ignored, so that `nohup` and background jobs of scripts work.
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
    // ctrlc has replaced the handlers of all three signals.
    ignored.into_iter().for_each(ignore);
    Ok(stop)
}

#[cfg(unix)]
type Signal = libc::c_int;
#[cfg(not(unix))]
type Signal = ();

/// The signals handled by ctrlc that are currently ignored.
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
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(is_ignored).collect()
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
