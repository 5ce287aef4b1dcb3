//! Decides whether a test that needs root and a kernel may run here, and says why if not.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

/// Set to `1` where every test must run, as on CI: then a skip is a failure.
pub const REQUIRE: &str = "REQUIRE_KERNEL_TESTS";

/// Leaves the calling test, saying why, where it can't run; panics instead where it must.
#[macro_export]
macro_rules! require_root_or_skip {
    () => {
        if let Some(reason) = $crate::gate::obstacle() {
            $crate::gate::skip(&reason);
            return $crate::gate::Skipped::skipped();
        }
    };
}

/// What a test returns when it was skipped.
pub trait Skipped {
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl<E> Skipped for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// Why no lab can be built here, if so.
pub fn obstacle() -> Option<String> {
    if !is_root() {
        return Some("not root: namespaces, eBPF and raw frames need it; run as root".into());
    }
    for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux"), ("nft", "nftables")] {
        if !on_path(program) {
            return Some(format!("no `{program}`: apt-get install {package}"));
        }
    }
    None
}

/// Whether we run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Prints why the calling test is skipped.
///
/// # Panics
/// If `REQUIRE_KERNEL_TESTS=1`.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os(REQUIRE).as_deref() != Some(OsStr::new("1")),
        "skipped under {REQUIRE}=1: {reason}"
    );
    let thread = std::thread::current();
    // Straight to standard error: the test harness swallows what a passing test prints with eprintln!.
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {reason}", thread.name().unwrap_or("test"));
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Root's own directories may be missing from the PATH of a su session.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|directory| Path::new(&directory).join(program).is_file())
}
