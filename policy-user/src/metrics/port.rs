//! The metrics on a port of the loopback interface, for a Prometheus on this machine.
//!
//! It only asks the agent, as any other client does: what happens on the port can't hold up enforcement.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::agent;
use crate::failure::Failure;

/// Whoever comes while so many are served waits in the kernel's queue.
const CONNECTIONS: usize = 8;

/// A request and its answer take no longer; what is slower is cut off.
const PATIENCE: Duration = Duration::from_secs(5);

/// The agent is asked once in this time, however many ask the port.
const FRESH: Duration = Duration::from_secs(1);

/// How often a port that another program has is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// A request that needs more room than this has headers that no scraper sends.
const LARGEST_REQUEST: usize = 16 << 10;

/// How the port is; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortStatus {
    pub listen: SocketAddr,
    /// Why nobody can ask there now; none where it works.
    pub error: Option<String>,
}

/// The port that the policy asks for, if it does.
pub struct Port {
    agent: mpsc::Sender<agent::Request>,
    open: Option<Open>,
}

struct Open {
    status: Arc<Mutex<PortStatus>>,
    task: JoinHandle<()>,
}

impl Port {
    pub fn new(agent: mpsc::Sender<agent::Request>) -> Self {
        Self { agent, open: None }
    }

    /// Listens there from now on, and nowhere else.
    pub fn follow(&mut self, listen: Option<SocketAddr>) {
        if self.status().map(|status| status.listen) == listen {
            return;
        }
        self.open = listen.map(|listen| {
            let status = Arc::new(Mutex::new(PortStatus { listen, error: None }));
            let task = tokio::spawn(run(listen, Arc::clone(&status), self.agent.clone()));
            Open { status, task }
        });
    }

    /// None where the policy asks for no port.
    pub fn status(&self) -> Option<PortStatus> {
        let open = self.open.as_ref()?;
        Some(open.status.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for the port and serves it, until it is aborted.
async fn run(listen: SocketAddr, status: Arc<Mutex<PortStatus>>, agent: mpsc::Sender<agent::Request>) {
    let tell = |error: Option<String>| {
        let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut status.error, error).is_some()
    };
    let listener = loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !tell(Some(error.to_string())) {
                    log::error!(
                        "the metrics can't be asked for on {listen}: {error}; trying again every {} s, the control \
                         socket has them too",
                        RETRY.as_secs()
                    );
                }
                sleep(RETRY).await;
            }
        }
    };
    if tell(None) {
        log::warn!("the metrics can be asked for on {listen} again");
    }
    serve(&listener, agent).await;
}

async fn serve(listener: &TcpListener, agent: mpsc::Sender<agent::Request>) {
    let answers = Arc::new(Answers { agent, newest: tokio::sync::Mutex::new(None) });
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        if open.len() >= CONNECTIONS {
            open.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                open.spawn(async move { drop(timeout(PATIENCE, talk(stream, answers)).await) });
            }
            // No descriptor is left, or the client has gone already.
            Err(error) => {
                log::debug!("no connection to the metrics: {error}");
                sleep(FRESH).await;
            }
        }
    }
}

/// One request a connection.
async fn talk(stream: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(|request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(&request).await) }
    });
    let mut http = http1::Builder::new();
    let connection =
        http.keep_alive(false).max_buf_size(LARGEST_REQUEST).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        log::debug!("a request for the metrics failed: {error}");
    }
}

struct Answers {
    agent: mpsc::Sender<agent::Request>,
    newest: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
}

impl Answers {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !is_for_this_machine(request.uri(), request.headers()) {
            let why = "only requests for localhost or a loopback address are answered; use that in the URL\n";
            return response(StatusCode::FORBIDDEN, why);
        }
        if request.uri().path() != "/metrics" {
            return response(StatusCode::NOT_FOUND, "there is only /metrics\n");
        }
        if request.method() != Method::GET {
            let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refusal;
        }
        match self.text().await {
            Ok(text) => {
                let mut answer = response(StatusCode::OK, text);
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(super::CONTENT_TYPE));
                answer
            }
            Err(failure) => response(StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")),
        }
    }

    /// The metrics as they are, or were a moment ago. Who asks meanwhile waits for the same answer.
    async fn text(&self) -> Result<Bytes, Failure> {
        let mut newest = self.newest.lock().await;
        if let Some((at, text)) = newest.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let stopping = || Failure::CouldNotRun("the agent is stopping".to_owned());
        let (answer, wait) = oneshot::channel();
        self.agent.send(agent::Request::Status(answer)).await.map_err(|_| stopping())?;
        let status = wait.await.map_err(|_| stopping())??;
        let text = Bytes::from(super::text(&status)?);
        *newest = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

fn response(code: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Whether the request is for a name that nobody can point here. A page in a browser on this machine may ask for a name
/// of its own that leads to a loopback address (DNS rebinding), and read the answer.
fn is_for_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let is_loopback = |host: &str| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    };
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let host = host.filter(|host| !host.as_str().contains('@') && is_loopback(host.host()));
    host.is_some() && hosts.next().is_none() && uri.host().is_none_or(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(uri: &'static str, hosts: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        is_for_this_machine(&Uri::from_static(uri), &headers)
    }

    #[test]
    fn only_names_that_nobody_can_point_here_are_answered() {
        for host in ["localhost", "LocalHost:9725", "127.0.0.1:9725", "127.1.2.3", "[::1]:9725", "[::1]"] {
            assert!(accepted("/metrics", &[host]), "{host}");
            assert!(accepted("http://localhost/metrics", &[host]), "{host}");
            assert!(!accepted("http://rebound.example/metrics", &[host]), "{host}");
        }
        for host in [
            "rebound.example",
            "rebound.example:9725",
            "localhost.rebound.example",
            "127.0.0.1.rebound.example",
            "localhost@rebound.example",
            "10.25.0.1",
            "[::ffff:127.0.0.1]",
            "",
        ] {
            assert!(!accepted("/metrics", &[host]), "{host}");
        }
        assert!(!accepted("/metrics", &[]));
        assert!(!accepted("/metrics", &["localhost", "rebound.example"]));
    }
}
