//! Ctrl-C and SIGTERM.
//!
//! Out: a flag that long work looks at. The first signal sets it; the second ends the process at once with
//! 130, so that nobody has to wait for a step that hangs. Where nobody looks any more the first one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::Failure;

/// The exit code of a process that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// What signals do.
pub struct Signals {
    /// Set by the first signal.
    pub stop: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
}

impl Signals {
    /// Starts listening.
    pub fn listen() -> Result<Signals, Failure> {
        let signals = Signals {
            stop: Arc::new(AtomicBool::new(false)),
            at_once: Arc::new(AtomicBool::new(false)),
        };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds the flag set before the first handler sets it.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&signals.at_once))
                .and_then(|_| {
                    flag::register_conditional_shutdown(
                        signal,
                        INTERRUPTED,
                        Arc::clone(&signals.stop),
                    )
                })
                .and_then(|_| flag::register(signal, Arc::clone(&signals.stop)))
                .map_err(|error| Failure::Failed(format!("cannot listen for Ctrl-C: {error}")))?;
        }
        Ok(signals)
    }

    /// From now on nobody looks at `stop`: a signal ends the process. One that came too late to be seen does so here.
    pub fn end_at_once(&self) {
        self.at_once.store(true, Ordering::SeqCst);
        if self.stop.load(Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
    }
}
