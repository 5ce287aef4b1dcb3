//! The control socket: HTTP and JSON over a unix socket, so that `curl --unix-socket` works as well as our own verbs.

mod peer;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::extract::{self, ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::account::Account;
use crate::agent::history::Kept;
use crate::agent::{
    AcknowledgeRequest, FlagEvent, Flagged, QuarantineRequest, Quarantined, ReloadRequest, Request,
    RunningPolicy,
};
use crate::failure::Failure;
use crate::metrics;
use crate::notify::{ReceiverStatus, TestRequest, Tested};
use crate::status::Status;
use peer::Peer;

/// Takes the socket's place, also from an agent that died without removing it.
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|error| Failure::io("create", dir, &error))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::CouldNotRun(format!(
            "another agent answers on {}; stop it first, enforcement goes on meanwhile",
            path.display()
        )));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::io("replace", path, &error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| Failure::io("bind", path, &error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .map_err(|error| Failure::io("set the mode of", path, &error))?;
    Ok(listener)
}

/// Answers until it is aborted.
pub async fn serve(listener: UnixListener, agent: mpsc::Sender<Request>) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics_text))
        .route("/v1/hosts", get(hosts))
        .route("/v1/policy", get(policy))
        .route("/v1/history", get(history))
        .route("/v1/history/{revision}", get(revision))
        .route("/v1/reload", post(reload))
        .route("/v1/confirm", post(confirm))
        .route("/v1/cancel", post(cancel))
        .route("/v1/flags", get(flags))
        .route("/v1/flags/{host}/release", post(release_flag))
        .route("/v1/flags/{host}/acknowledge", post(acknowledge_flag))
        .route("/v1/notify", get(notify))
        .route("/v1/notify/test", post(test_notify))
        .route("/v1/quarantine", post(quarantine))
        .route("/v1/release/{host}", post(release))
        .with_state(agent)
        .into_make_service_with_connect_info::<Peer>();
    if let Err(error) = axum::serve(listener, router).await {
        log::error!("the control socket has failed: {error}");
    }
}

type Agent = State<mpsc::Sender<Request>>;

async fn status(State(agent): Agent) -> Result<Json<Status>, Failure> {
    ask(&agent, Request::Status).await.map(Json)
}

async fn hosts(State(agent): Agent) -> Result<Json<Vec<Account>>, Failure> {
    ask(&agent, Request::Hosts).await.map(Json)
}

async fn metrics_text(State(agent): Agent) -> Result<impl IntoResponse, Failure> {
    let status = ask(&agent, Request::Status).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&status)?))
}

async fn policy(State(agent): Agent) -> Result<Json<RunningPolicy>, Failure> {
    ask(&agent, Request::Policy).await.map(Json)
}

async fn history(State(agent): Agent) -> Result<Json<Vec<Kept>>, Failure> {
    ask(&agent, Request::History).await.map(Json)
}

async fn revision(
    State(agent): Agent,
    extract::Path(prefix): extract::Path<String>,
) -> Result<Json<Value>, Failure> {
    let (kept, text) = ask(&agent, |answer| Request::Revision(prefix, answer)).await?;
    Ok(Json(json!({ "kept": kept, "text": text })))
}

/// An empty body asks for a plain reload, as `curl -X POST` does.
async fn reload(
    State(agent): Agent,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let request = match body.as_ref() {
        [] => ReloadRequest::default(),
        json => serde_json::from_slice(json).map_err(|error| {
            Failure::Rejected(format!(
                "the body is no reload request: {error}; send {{\"confirm_seconds\": 300}} or nothing"
            ))
        })?,
    };
    told(ask(&agent, |answer| Request::Reload(request, peer.user, answer)).await)
}

async fn confirm(State(agent): Agent, ConnectInfo(peer): ConnectInfo<Peer>) -> Result<Json<Value>, Failure> {
    told(ask(&agent, |answer| Request::Confirm(peer.user, answer)).await)
}

async fn cancel(State(agent): Agent, ConnectInfo(peer): ConnectInfo<Peer>) -> Result<Json<Value>, Failure> {
    told(ask(&agent, |answer| Request::Cancel(peer.user, answer)).await)
}

fn told(result: Result<String, Failure>) -> Result<Json<Value>, Failure> {
    result.map(|told| Json(json!({ "result": told })))
}

async fn quarantine(
    State(agent): Agent,
    Json(request): Json<QuarantineRequest>,
) -> Result<Json<Quarantined>, Failure> {
    ask(&agent, |answer| Request::Quarantine(request, answer)).await.map(Json)
}

async fn release(
    State(agent): Agent,
    extract::Path(host): extract::Path<IpAddr>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Result<Json<Value>, Failure> {
    let released = ask(&agent, |answer| Request::Release(host, peer.user, answer)).await?;
    Ok(Json(json!({ "host": host, "released": released })))
}

async fn flags(State(agent): Agent) -> Result<Json<Vec<Flagged>>, Failure> {
    ask(&agent, Request::Flags).await.map(Json)
}

async fn notify(State(agent): Agent) -> Result<Json<Vec<ReceiverStatus>>, Failure> {
    ask(&agent, Request::Notify).await.map(Json)
}

/// An empty body tests all receivers.
async fn test_notify(State(agent): Agent, body: Bytes) -> Result<Json<Vec<Tested>>, Failure> {
    let request = match body.as_ref() {
        [] => TestRequest::default(),
        json => serde_json::from_slice(json).map_err(|error| {
            Failure::Rejected(format!(
                "the body is no test request: {error}; send {{\"receiver\": \"it-ops\"}} or nothing"
            ))
        })?,
    };
    ask(&agent, |answer| Request::TestNotify(request, answer)).await.map(Json)
}

async fn release_flag(
    State(agent): Agent,
    extract::Path(host): extract::Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Result<Json<FlagEvent>, Failure> {
    ask(&agent, |answer| Request::ReleaseFlag(host, peer.user, answer)).await.map(Json)
}

async fn acknowledge_flag(
    State(agent): Agent,
    extract::Path(host): extract::Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<AcknowledgeRequest>,
) -> Result<Json<FlagEvent>, Failure> {
    ask(&agent, |answer| Request::AcknowledgeFlag(host, request, peer.user, answer)).await.map(Json)
}

async fn ask<T>(
    agent: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Request,
) -> Result<T, Failure> {
    let stopping = || Failure::CouldNotRun("the agent is stopping".to_owned());
    let (answer, wait) = oneshot::channel();
    agent.send(request(answer)).await.map_err(|_| stopping())?;
    wait.await.map_err(|_| stopping())?
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::CouldNotRun(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// Sends one request to the agent behind `socket`; `None` where no agent answers there.
pub async fn request(
    socket: &Path,
    method: hyper::Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Option<Value>, Failure> {
    let Ok(stream) = UnixStream::connect(socket).await else { return Ok(None) };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::CouldNotRun(format!("the agent on {} does not answer: {error}", socket.display()))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "smtpfence")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let code = response.status();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    let value: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    let why = || value["error"].as_str().unwrap_or("it gave no reason").to_owned();
    match code {
        StatusCode::OK => Ok(Some(value)),
        StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::Rejected(why())),
        _ => Err(Failure::CouldNotRun(why())),
    }
}
