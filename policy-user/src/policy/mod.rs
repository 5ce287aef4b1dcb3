//! From a YAML file to kernel tables: `file` reads what is written, `validate` judges it, `compile` lays it out.

mod bundle;
pub mod compile;
pub mod diagnostics;
pub mod diff;
pub mod edit;
pub mod evaluate;
pub mod explain;
mod file;
mod include;
mod load;
pub mod long_list;
pub mod migrate;
mod model;
mod places;
mod receivers;
pub mod reference;
pub mod schema;
mod source;
pub mod unit_test;
mod validate;

pub use bundle::{Part, Parts, path_of};
pub use diagnostics::{Diagnostic, Place, Severity};
pub use load::{LoadError, load, load_text, parse, read_text, revision_at};
pub use model::{
    Datapath, Detection, Exception, Group, InsideEntry, InterfaceGlob, LearntNames, LoadedPolicy, LogTarget,
    MailServer, Mode, OnBlock, Policy, Quarantine, Retention, Revision, Scope, Transport, Treatment,
};
pub use receivers::{Email, Exec, Receiver, Security, Topic, Way, Webhook};
pub use source::{SourceError, Strictness, changeable_by_others};
