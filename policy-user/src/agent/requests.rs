//! What others ask of the running agent, and what it does about it.

use std::net::IpAddr;

use tokio::sync::oneshot;

use super::detection::{AcknowledgeRequest, FlagEvent, Flagged};
use super::enforcement::{Enforcement, Released, ReloadRequest, RunningPolicy};
use super::history::{How, Kept, Origin};
use super::inbox::Inbox;
use super::log_writer::LogWriter;
use super::quarantine::{QuarantineRequest, Quarantined};
use crate::account::Account;
use crate::failure::Failure;
use crate::metrics;
use crate::notify::{self, ReceiverStatus, TestRequest, Tested};
use crate::policy::Policy;
use crate::status::{AgentInfo, Status};

/// What others ask of the running agent.
pub enum Request {
    Status(Answer<Status>),
    /// The exact accounts of hosts.
    Hosts(Answer<Vec<Account>>),
    Policy(Answer<RunningPolicy>),
    /// The revisions that are kept, the newest first.
    History(Answer<Vec<Kept>>),
    /// One of them, by the beginning of its revision, and its text.
    Revision(String, Answer<(Kept, String)>),
    /// Who asks is the second part.
    Reload(ReloadRequest, Option<String>, Answer<String>),
    Confirm(Option<String>, Answer<String>),
    Cancel(Option<String>, Answer<String>),
    Quarantine(QuarantineRequest, Answer<Quarantined>),
    /// A client; who asks.
    Release(IpAddr, Option<String>, Answer<bool>),
    Flags(Answer<Vec<Flagged>>),
    /// A host, by MAC or address; who asks.
    ReleaseFlag(String, Option<String>, Answer<FlagEvent>),
    /// The same with a note.
    AcknowledgeFlag(String, AcknowledgeRequest, Option<String>, Answer<FlagEvent>),
    Notify(Answer<Vec<ReceiverStatus>>),
    TestNotify(TestRequest, Answer<Vec<Tested>>),
}

/// Where the answer to a request goes.
pub type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// Reloads once for all who wait for it.
pub(super) async fn reload(
    user: Option<String>,
    asker: Answer<String>,
    inbox: &mut Inbox,
    enforcement: &mut Enforcement,
    writer: &LogWriter,
) {
    let mut all = vec![(user, asker)];
    all.extend(inbox.take_reloads());
    if all.len() > 1 {
        log::info!("one reload answers {} requests", all.len());
    }
    let user = all.last().and_then(|(user, _)| user.clone());
    let result =
        enforcement.reload(&ReloadRequest::default(), Origin { how: How::Reload, user }, writer).await;
    for (_, asker) in all {
        drop(asker.send(result.clone()));
    }
}

/// Does what is asked. A caller that did not wait for the answer is no reason for anything.
pub(super) async fn answer(
    request: Request,
    enforcement: &mut Enforcement,
    info: &AgentInfo,
    writer: &LogWriter,
    metrics: &metrics::Port,
) {
    match request {
        Request::Status(answer) => {
            let status = enforcement.status(info);
            let (store, metrics) = (Some(writer.store_status()), metrics.status());
            let notify = writer.notifier().status();
            drop(answer.send(status.map(|status| Status { store, metrics, notify, ..status })));
        }
        Request::Hosts(answer) => drop(answer.send(enforcement.hosts())),
        Request::Policy(answer) => drop(answer.send(Ok(enforcement.running_policy()))),
        Request::History(answer) => {
            let in_force = enforcement.in_force().revision.as_str();
            drop(answer.send(enforcement.history().list(Some(in_force))));
        }
        Request::Revision(prefix, answer) => drop(answer.send(enforcement.history().find(&prefix))),
        Request::Reload(request, user, answer) => {
            let how = match request.how {
                How::Allow | How::Restore => request.how,
                _ => How::Reload,
            };
            let origin = Origin { how, user };
            drop(answer.send(enforcement.reload(&request, origin, writer).await));
        }
        Request::Confirm(user, answer) => drop(answer.send(enforcement.confirm(user))),
        Request::Cancel(user, answer) => drop(answer.send(enforcement.cancel(user, writer).await)),
        Request::Quarantine(request, answer) => drop(answer.send(enforcement.quarantine(request))),
        Request::Release(host, user, answer) => {
            let result = enforcement.release(host, user.as_deref());
            if let Ok(Released { flag: Some(event), .. }) = &result {
                writer.write_flags(std::slice::from_ref(event)).await;
            }
            drop(answer.send(result.map(|released| released.was)));
        }
        Request::Notify(answer) => drop(answer.send(Ok(writer.notifier().status()))),
        Request::TestNotify(request, answer) => test_notify(request, enforcement.policy(), answer),
        Request::Flags(answer) => drop(answer.send(Ok(enforcement.detection().flags()))),
        Request::ReleaseFlag(host, user, answer) => {
            let result = enforcement.release_flag(&host, user.as_deref());
            if let Ok(event) = &result {
                writer.write_flags(std::slice::from_ref(event)).await;
            }
            drop(answer.send(result));
        }
        Request::AcknowledgeFlag(host, request, user, answer) => {
            let result = enforcement.detection().acknowledge(&host, &request.note, user);
            if let Ok(event) = &result {
                writer.write_flags(std::slice::from_ref(event)).await;
            }
            drop(answer.send(result));
        }
    }
}

/// Beside everything else: a receiver that is away must not hold up the agent.
fn test_notify(request: TestRequest, policy: &Policy, answer: Answer<Vec<Tested>>) {
    match notify::chosen(policy, request.receiver.as_deref()) {
        Ok(receivers) => {
            tokio::spawn(async move { drop(answer.send(Ok(notify::test(receivers).await))) });
        }
        Err(error) => drop(answer.send(Err(error))),
    }
}
