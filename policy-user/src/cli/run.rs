//! `smtpfence run`: the agent in the foreground.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Places;
use crate::agent::{self, Config, Format};
use crate::datapath::KernelLog;
use crate::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// Policy to put in force.
    #[arg(long, value_name = "FILE", default_value = "/etc/smtpfence/policy.yaml")]
    policy: PathBuf,
    #[command(flatten)]
    places: Places,
    /// How attempts are written.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// What the kernel programs tell about rare paths; off costs nothing.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "off")]
    kernel_log: KernelLog,
}

pub fn run(args: Args) -> Result<(), Failure> {
    // Others read and write this file too, each from a directory of its own.
    let policy = std::path::absolute(&args.policy).unwrap_or(args.policy);
    let config = Config {
        policy,
        bpffs: args.places.bpffs,
        state_dir: args.places.state_dir,
        control: args.places.control,
        format: args.format,
        kernel_log: args.kernel_log,
    };
    tokio::runtime::Runtime::new()
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
