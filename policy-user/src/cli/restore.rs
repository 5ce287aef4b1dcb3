//! `smtpfence restore`: a policy that has been in force before comes back, into its files and into force.

use super::change::{Change, PolicyFile};
use super::history::kept;
use super::say;
use crate::agent::history::How;
use crate::failure::Failure;
use crate::policy;

#[derive(clap::Args)]
pub struct Args {
    /// The revision, or its beginning, as `smtpfence history` lists it.
    revision: String,
    #[command(flatten)]
    change: Change,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (revision, text) = kept(&args.change.places, &args.revision)?;
    let file = PolicyFile::open(&args.change)?;
    // Dates pass and the language grows: what was good once is judged again.
    policy::load_text(&file.path, text.clone())?;
    if file.text.as_ref() == Some(&text) {
        say(format_args!("{} is revision {revision} already", file.path.display()))?;
    } else {
        file.propose(&text)?;
        for backup in file.back_up(&text)? {
            say(format_args!("the file as it was is kept as {}", backup.display()))?;
        }
    }
    file.put_in_force(&text, How::Restore)
}
