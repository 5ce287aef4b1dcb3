//! `smtpfence run`: the agent in the foreground.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Places;
use crate::agent::{self, Config, Format};
use crate::datapath::KernelLog;
use crate::failure::Failure;
use crate::rights;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    start: Start,
    /// How attempts are written.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// What the kernel programs tell about rare paths; off costs nothing.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "off")]
    kernel_log: KernelLog,
}

/// What is put in force, and how.
#[derive(clap::Args)]
pub struct Start {
    /// Policy to put in force.
    #[arg(long, value_name = "FILE", default_value = "/etc/smtpfence/policy.yaml")]
    policy: PathBuf,
    #[command(flatten)]
    places: Places,
    /// Nobody is there to correct a mistake, as at boot: wait for interfaces that are missing, and where the policy file is
    /// refused, put the last good policy in force and say so.
    #[arg(long)]
    unattended: bool,
}

impl Start {
    pub fn config(self, format: Format, kernel_log: KernelLog) -> Config {
        Config {
            // Others read and write this file too, each from a directory of its own.
            policy: std::path::absolute(&self.policy).unwrap_or(self.policy),
            bpffs: self.places.bpffs,
            state_dir: self.places.state_dir,
            control: self.places.control,
            format,
            kernel_log,
            unattended: self.unattended,
        }
    }
}

pub fn run(args: Args) -> Result<(), Failure> {
    let config = args.start.config(args.format, args.kernel_log);
    rights::runtime()
        .map_err(|error| Failure::CouldNotRun(format!("can't start the runtime: {error}")))?
        .block_on(async {
            let cant_listen =
                |error: std::io::Error| Failure::CouldNotRun(format!("can't listen to signals: {error}"));
            let mut interrupt = signal(SignalKind::interrupt()).map_err(cant_listen)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(cant_listen)?;
            let mut hangup = signal(SignalKind::hangup()).map_err(cant_listen)?;
            // One waiting hang-up stands for all that come while a reload runs.
            let (hung_up, hangups) = mpsc::channel(1);
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    let _ = hung_up.try_send(());
                }
            });
            let shutdown = async move {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            agent::run(config, shutdown, hangups).await
        })
}
