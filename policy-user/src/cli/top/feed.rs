//! What comes to the screen and goes out from it: looks at the world, wishes of the admin, signals.

use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tokio::signal::unix::{SignalKind, signal};

use super::poller::Poller;
use super::snapshot::Snapshot;
use crate::agent::QuarantineRequest;
use crate::cli::Places;
use crate::failure::Failure;

/// How often the world is looked at.
const PERIOD: Duration = Duration::from_secs(1);

pub enum News {
    Look(Box<Snapshot>),
    /// What came of a wish.
    Told(Result<String, String>),
    /// Somebody wants the program to end.
    Stop,
}

/// What the admin wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Tell all about this host, or about none any more.
    Story(Option<IpAddr>),
    Quarantine(Quarantining),
    EndQuarantine(IpAddr),
    /// The name that the flag has.
    ReleaseFlag(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantining {
    pub host: IpAddr,
    pub seconds: i64,
    pub reason: String,
}

impl From<Quarantining> for QuarantineRequest {
    fn from(Quarantining { host, seconds, reason }: Quarantining) -> Self {
        Self { host, seconds, reason, scope: None }
    }
}

/// The two ends that the screen holds.
pub struct Feed {
    pub news: Receiver<News>,
    pub wishes: Sender<Wish>,
}

/// Starts the threads that look, ask and listen; they end with the process.
pub fn start(places: &Places) -> Result<Feed, Failure> {
    let (tell, news) = mpsc::channel();
    let (wishes, wished) = mpsc::channel();
    let poller = Poller::new(places)?;
    let stop = tell.clone();
    // A thread of its own: a slow disk must not hold up the end of the program.
    thread::spawn(move || {
        if wait_for_signal().is_ok() {
            let _ = stop.send(News::Stop);
        }
    });
    thread::spawn(move || work(poller, &wished, &tell));
    Ok(Feed { news, wishes })
}

/// Looks and fulfils wishes until the screen is gone.
///
/// With its terminal gone, the thread that draws never hears of it: crossterm 0.29 reads the end of the terminal for ever.
fn work(mut poller: Poller, wished: &Receiver<Wish>, tell: &Sender<News>) {
    while tell.send(News::Look(Box::new(poller.look()))).is_ok() {
        if terminal_is_gone() {
            std::process::exit(0);
        }
        match wished.recv_timeout(PERIOD) {
            Ok(wish) => {
                let told = poller.fulfil(wish).map_err(|error| error.to_string()).transpose();
                if told.is_some_and(|told| tell.send(News::Told(told)).is_err()) {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn terminal_is_gone() -> bool {
    let terminal = std::io::stdin();
    let mut asked = [PollFd::new(&terminal, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).is_ok()
        && asked.iter().any(|it| it.revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

fn wait_for_signal() -> Result<(), Failure> {
    crate::cli::block_on(async {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::CouldNotRun(format!("can't listen for signals: {error}")))
        };
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hangup = listen(SignalKind::hangup())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok(())
    })
}
