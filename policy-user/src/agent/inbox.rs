//! Requests in the order they came, except that plain reloads that wait together are one.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{Answer, ReloadRequest, Request};

/// Requests that can wait while one is answered: more than any storm of reloads has.
pub const ROOM: usize = 1024;

/// What waits to be answered.
pub struct Inbox {
    asked: mpsc::Receiver<Request>,
    /// Taken from the channel already.
    waiting: VecDeque<Request>,
}

impl Inbox {
    pub fn new(asked: mpsc::Receiver<Request>) -> Self {
        Self { asked, waiting: VecDeque::new() }
    }

    /// The next request. Nothing is lost where the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Request> {
        match self.waiting.pop_front() {
            Some(request) => Some(request),
            None => self.asked.recv().await,
        }
    }

    /// Takes out the plain reloads that wait: all of them were asked before the reload that is about to read the file, so
    /// it answers them too. Only questions may be overtaken; what changes something ends the search.
    pub fn take_reloads(&mut self) -> Vec<(Option<String>, Answer<String>)> {
        while let Ok(request) = self.asked.try_recv() {
            self.waiting.push_back(request);
        }
        let mut reloads = Vec::new();
        let mut passed = VecDeque::new();
        while let Some(request) = self.waiting.pop_front() {
            match request {
                Request::Reload(request, user, answer) if request == ReloadRequest::default() => {
                    reloads.push((user, answer));
                }
                Request::Status(_) | Request::Policy(_) | Request::History(_) | Request::Revision(..) => {
                    passed.push_back(request);
                }
                _ => {
                    self.waiting.push_front(request);
                    break;
                }
            }
        }
        passed.append(&mut self.waiting);
        self.waiting = passed;
        reloads
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn reload(user: &str, confirm_seconds: Option<i64>) -> Request {
        let request = ReloadRequest { confirm_seconds, ..ReloadRequest::default() };
        Request::Reload(request, Some(user.to_owned()), oneshot::channel().0)
    }

    fn told(request: &Request) -> String {
        match request {
            Request::Reload(_, user, _) => format!("reload {}", user.as_deref().unwrap_or_default()),
            Request::Status(_) => "status".to_owned(),
            Request::Confirm(..) => "confirm".to_owned(),
            _ => "other".to_owned(),
        }
    }

    #[test]
    fn plain_reloads_are_taken_up_to_the_first_other_change() {
        let (send, asked) = mpsc::channel(ROOM);
        let sent = [
            reload("a", None),
            Request::Status(oneshot::channel().0),
            reload("b", None),
            reload("on trial", Some(60)),
            Request::Confirm(None, oneshot::channel().0),
            reload("late", None),
        ];
        for request in sent {
            assert!(send.try_send(request).is_ok());
        }
        let mut inbox = Inbox::new(asked);
        let taken: Vec<_> = inbox.take_reloads().into_iter().filter_map(|(user, _)| user).collect();
        assert_eq!(taken, ["a", "b"]);
        let left: Vec<_> = inbox.waiting.iter().map(told).collect();
        assert_eq!(left, ["status", "reload on trial", "confirm", "reload late"]);
    }
}
