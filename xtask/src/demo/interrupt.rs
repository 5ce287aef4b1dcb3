//! Ctrl-C and SIGTERM end the demo between two steps, so that everything is cleaned up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts to note signals instead of dying of them.
pub fn watch() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("could not watch for Ctrl-C")?;
    }
    Ok(())
}

/// An error if somebody wants us to stop.
pub fn check() -> Result<()> {
    if INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted; everything the demo made is removed");
    }
    Ok(())
}

/// Asks again and again until `done`; false after `timeout`.
pub fn wait_until(timeout: Duration, mut done: impl FnMut() -> bool) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    while !done() {
        check()?;
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}
