//! From a YAML file to kernel tables: `file` reads what is written, `validate` judges it, `compile` lays it out.

pub mod compile;
pub mod diagnostics;
pub mod diff;
pub mod edit;
pub mod evaluate;
pub mod explain;
mod file;
mod load;
mod model;
mod places;
pub mod schema;
mod source;
pub mod unit_test;
mod validate;

pub use diagnostics::{Diagnostic, Severity};
pub use load::{LoadError, load, load_text, parse, read_text, revision_at};
pub use model::{
    Detection, Exception, Group, InsideEntry, InterfaceGlob, LoadedPolicy, MailServer, Mode, OnBlock, Policy,
    Revision, Treatment,
};
pub use source::{SourceError, Strictness};
