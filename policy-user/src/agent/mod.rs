//! The agent: puts the policy in force, keeps it so while the network changes, and reads what the kernel reports.

mod alarms;
mod detection;
mod early;
mod enforcement;
pub mod history;
pub mod hosts;
mod inbox;
mod interfaces;
mod log_writer;
mod names;
pub mod pending;
mod pump;
mod quarantine;
mod requests;
mod service;
mod start;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use crate::attempt::Lexicon;
use crate::control;
use crate::datapath::{self, KernelLog};
use crate::failure::Failure;
use crate::metrics;
use crate::status::{AgentInfo, InForce};
use alarms::Alarms;
use detection::Detection;
pub use detection::{AcknowledgeRequest, FlagCounts, FlagEvent, Flagged, remembered};
use enforcement::Enforcement;
pub use enforcement::{ReloadRequest, RunningPolicy};
use history::{How, Origin};
use inbox::Inbox;
pub use interfaces::present;
pub use log_writer::Format;
use log_writer::LogWriter;
pub use names::NameCounts;
pub use quarantine::{QuarantineRequest, Quarantined};
pub use requests::{Answer, Request};
use requests::{answer, reload};
use service::ServiceManager;
use start::First;

/// Where the agent finds and keeps things.
#[derive(Clone, Debug)]
pub struct Config {
    pub policy: PathBuf,
    pub bpffs: PathBuf,
    pub state_dir: PathBuf,
    pub control: PathBuf,
    pub format: Format,
    pub kernel_log: KernelLog,
    /// Nobody is there to correct a mistake: missing interfaces are waited for, and where the policy file is refused, the
    /// last good policy is put in force.
    pub unattended: bool,
}

/// A network that is being reconfigured sends many messages; one look behind the last of them is enough.
const SETTLE: Duration = Duration::from_millis(50);

/// Nothing tells when somebody else attaches a program, so the order at the hooks is looked up this often.
const WATCH: Duration = Duration::from_secs(2);

/// How much of what the detector knows an accident may cost.
const KEEP: Duration = Duration::from_secs(60);

/// Runs until `shutdown` completes, and leaves enforcement in force.
///
/// Before it returns an error at start, nothing is attached that was not attached before.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    mut hangups: mpsc::Receiver<()>,
) -> Result<(), Failure> {
    // Everything that can refuse comes before the first change of the kernel.
    let first = First::choose(&config)?;
    datapath::check_machine()?;
    let _lock = lock(&config.state_dir)?;
    let (requests, asked) = mpsc::channel(inbox::ROOM);
    let mut inbox = Inbox::new(asked);
    let listener = control::bind(&config.control)?;
    let lexicon = Arc::new(RwLock::new(Lexicon::new()));
    let detection = Arc::new(Detection::start(&config.state_dir, &first.policy.policy));
    let (mut enforcement, mut changes, answers) =
        Enforcement::start(&config, first, Arc::clone(&lexicon), Arc::clone(&detection)).await?;
    let packets = enforcement.packet_counts()?;
    let writer = LogWriter::start(config.format, enforcement.policy(), &config.state_dir, packets);
    let pump = pump::start(enforcement.events()?, answers, lexicon, Arc::clone(&detection), writer.clone());
    let mut metrics = metrics::Port::new(requests.clone());
    let control = tokio::spawn(control::serve(listener, requests));
    let info =
        AgentInfo { pid: std::process::id(), version: env!("CARGO_PKG_VERSION"), since: Timestamp::now() };
    writer.announce(enforcement.in_force());
    let mut manager = ServiceManager::find();
    manager.ready();

    let mut alarms = Alarms::new(&enforcement);
    let mut look = every(WATCH);
    let mut reap = every(hosts::REAP);
    let mut keep = every(KEEP);
    tokio::pin!(shutdown);
    loop {
        // Whatever has changed the policy.
        metrics.follow(enforcement.policy().metrics);
        tokio::select! {
            () = &mut shutdown => break,
            Some(()) = hangups.recv() => {
                let (request, origin) = (ReloadRequest::default(), Origin::nobody(How::Signal));
                if let Err(error) = enforcement.reload(&request, origin, &writer).await {
                    log::error!("{error}; the policy before stays in force");
                }
            }
            () = manager.due() => manager.feed(),
            () = over(enforcement.time_to_roll_back()) => enforcement.time_is_up(&writer).await,
            Some(request) = inbox.next() => match request {
                Request::Reload(request, user, asker) if request == ReloadRequest::default() => {
                    reload(user, asker, &mut inbox, &mut enforcement, &writer).await;
                }
                request => answer(request, &mut enforcement, &info, &writer, &metrics).await,
            },
            _ = look.tick() => {
                enforcement.retry_failed().await;
                enforcement.watch_hooks(&writer).await;
                enforcement.watch_quarantine().await;
                alarms.look(&enforcement, &writer);
            }
            () = detection.infection() => enforcement.watch_quarantine().await,
            _ = reap.tick() => enforcement.reap_hosts(),
            _ = keep.tick() => {
                writer.write_flags(&detection.age()).await;
                let detection = Arc::clone(&detection);
                // Writing may take long on a slow disk, and nobody waits for it.
                tokio::task::spawn_blocking(move || detection.save());
            }
            Some(()) = changes.next() => {
                tokio::time::sleep(SETTLE).await;
                changes.skip_pending();
                enforcement.follow_network().await;
                enforcement.watch_hooks(&writer).await;
                alarms.look(&enforcement, &writer);
            }
        }
    }
    manager.stopping();
    control.abort();
    let _ = fs::remove_file(&config.control);
    pump.stop().await;
    writer.notifier().close();
    detection.save();
    log::info!("stopped; the policy stays in force (`smtpfence detach` ends it)");
    Ok(())
}

/// Puts the policy in force and leaves it there without an agent: what is covered now stays covered, interfaces that appear
/// later wait for one.
pub async fn apply(config: &Config) -> Result<InForce, Failure> {
    let first = First::choose(config)?;
    datapath::check_machine()?;
    let _lock = lock(&config.state_dir)?;
    let detection = Arc::new(Detection::start(&config.state_dir, &first.policy.policy));
    let (enforcement, ..) = Enforcement::start(config, first, Arc::default(), detection).await?;
    Ok(enforcement.in_force().clone())
}

/// After a pause the machine slept through, once is enough.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits for the end of a trial; for ever where there is none.
async fn over(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

/// Keeps a second agent out for as long as the file is open; the kernel drops the lock of a dead one.
fn lock(state_dir: &Path) -> Result<File, Failure> {
    fs::create_dir_all(state_dir).map_err(|error| Failure::io("create", state_dir, &error))?;
    let path = state_dir.join("lock");
    let failed = |error: std::io::Error| Failure::io("lock", &path, &error);
    let file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            fs::write(&path, format!("{}\n", std::process::id())).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            Err(Failure::CouldNotRun(format!(
                "another agent (process {}) already runs with {}; stop it first, enforcement goes on meanwhile",
                pid.trim(),
                state_dir.display()
            )))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
