//! `smtpfence detach`: the only way that enforcement ends.

use super::Places;
use crate::datapath;
use crate::failure::Failure;
use crate::status::InForce;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    places: Places,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let places = &args.places;
    if std::os::unix::net::UnixStream::connect(&places.control).is_ok() {
        return Err(Failure::CouldNotRun(format!(
            "an agent runs on {}; stop it first, or it would have nothing to enforce with",
            places.control.display()
        )));
    }
    let found = datapath::detach(&places.bpffs)?;
    InForce::forget(&places.state_dir);
    let told = if found { "detached: port 25 is open for everybody now" } else { "nothing was attached" };
    super::say(format_args!("{told}"))
}
