//! Ctrl-C and SIGTERM.
//!
//! Out: a flag that long work looks at. The first signal sets it; the second ends the process at once with
//! 130, so that nobody has to wait for a step that hangs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::Failure;

/// The exit code of a process that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Starts listening; the flag is set by the first signal.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag set before the first handler sets it.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::Failed(format!("cannot listen for Ctrl-C: {error}")))?;
    }
    Ok(stop)
}
