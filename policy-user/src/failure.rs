//! Failures as the command line ends with them: one sentence and an exit code.

use std::fmt;
use std::process::ExitCode;

use crate::datapath::DatapathError;
use crate::netlink::NetlinkError;
use crate::policy::LoadError;
use crate::policy::compile::CompileError;

/// Why a command did not do what it was asked for. Exit codes are a contract: scripts and units act on them.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The input is not acceptable; trying again without changing it is useless. Exit code 1.
    Rejected(String),
    /// The input may be fine, but it could not be acted on here and now. Exit code 2.
    CouldNotRun(String),
}

impl Failure {
    /// `doing path: error`, for things of the operating system.
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::CouldNotRun(format!("can't {doing} {}: {error}", path.display()))
    }

    /// Prints the failure for a person and returns its exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("smtpfence: {self}");
        match self {
            Self::Rejected(_) => ExitCode::from(1),
            Self::CouldNotRun(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(why) | Self::CouldNotRun(why) => f.write_str(why),
        }
    }
}

impl From<DatapathError> for Failure {
    fn from(error: DatapathError) -> Self {
        Self::CouldNotRun(error.to_string())
    }
}

impl From<NetlinkError> for Failure {
    fn from(error: NetlinkError) -> Self {
        Self::CouldNotRun(error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let told = error.render(false).trim_end().to_owned();
        if error.is_rejection() { Self::Rejected(told) } else { Self::CouldNotRun(told) }
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        Self::CouldNotRun(error.to_string())
    }
}
