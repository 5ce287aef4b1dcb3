//! Webhooks: one HTTP POST, signed as the Standard Webhooks have it, over TLS that is checked.
//!
//! On hyper, which the control socket has anyway: no redirects to follow, no proxies, no cookies.

use std::future::Future;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::dial;
use super::message::Message;
use super::secret;
use super::trouble::{Stage, Trouble};
use crate::authorities;
use crate::policy::Webhook;

/// Bytes of an answer that are read, to tell the admin why it was a refusal.
const ANSWER: usize = 1024;
/// A key that is shorter could be guessed.
const SHORTEST_KEY: usize = 16;

pub async fn deliver(webhook: &Webhook, message: &Message) -> Result<(), Trouble> {
    let uri: Uri = webhook.url.parse().map_err(|error| {
        Trouble::new(Stage::Setup, format!("the URL can't be used: {error}"), "correct it in the policy")
    })?;
    let key = key(webhook)?;
    let request = request(&uri, message, &key, jiff::Timestamp::now().as_second())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = dial::connect(&host, port).await?;
    if !tls {
        return post(stream, request).await;
    }
    let roots = authorities::load(webhook.authorities.as_deref()).map_err(|error| {
        Trouble::new(Stage::Setup, format!("the authorities can't be read: {error}"), "check `authorities`")
    })?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host).map_err(|error| {
        Trouble::new(Stage::Setup, format!("the URL has no host: {error}"), "correct it in the policy")
    })?;
    let session = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    post(session.map_err(|error| dial::no_tls(&error))?, request).await
}

async fn post<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| {
        let next = "look into the server's log; the message is sent again";
        Trouble::new(Stage::Answer, format!("the server broke off: {error}"), next)
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        judge(response).await
    };
    drive(connection, answer).await
}

/// The connection lives as long as the answer is waited for and no longer, also where the future is dropped.
async fn drive<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        _ = &mut connection => {}
    }
    answer.await
}

async fn judge(response: Response<Incoming>) -> Result<(), Trouble> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = Limited::new(response.into_body(), ANSWER).collect().await.map(|body| body.to_bytes());
    let said = body.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let trouble =
        Trouble::new(Stage::Answer, format!("the server answered {status}: {said}"), next_step(status));
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(trouble.for_good()),
        _ => Err(trouble),
    }
}

fn next_step(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "redirects are not followed: write the address it leads to into the policy",
        401 | 403 => "check that both sides have the same secret",
        404 | 410 => "check the path of the URL",
        400 | 413 | 415 | 422 => "the receiver does not understand the document: see docs/notifications.md",
        _ => "look into the server's log; the message is sent again",
    }
}

/// The bytes of the key: with `whsec_` in front they are written in Base64, else the text is the key.
fn key(webhook: &Webhook) -> Result<Vec<u8>, Trouble> {
    let secret = secret::read(&webhook.secret_file)?;
    let unfit = |why: &str| {
        let why = format!("{} {why}", webhook.secret_file.display());
        let next = "write a new one: `printf whsec_; head -c 32 /dev/urandom | base64`";
        Trouble::new(Stage::Setup, why, next)
    };
    let key = match secret.strip_prefix(b"whsec_") {
        Some(text) => {
            STANDARD.decode(text).map_err(|_| unfit("has something else than Base64 after `whsec_`"))?
        }
        None => secret,
    };
    if key.len() < SHORTEST_KEY {
        return Err(unfit("holds a key of less than 16 bytes"));
    }
    Ok(key)
}

fn request(uri: &Uri, message: &Message, key: &[u8], time: i64) -> Result<Request<Full<Bytes>>, Trouble> {
    let body = message.json();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header("host", uri.authority().map_or("", |authority| authority.as_str()))
        .header("user-agent", concat!("smtpfence/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json")
        .header("connection", "close")
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", time)
        .header("webhook-signature", signature(key, &message.id, time, &body)?)
        .body(Full::new(Bytes::from(body)));
    request
        .map_err(|error| Trouble::new(Stage::Setup, format!("the URL can't be used: {error}"), "correct it"))
}

fn signature(key: &[u8], id: &str, time: i64, body: &str) -> Result<String, Trouble> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|error| Trouble::new(Stage::Setup, error, "write another secret"))?;
    mac.update(format!("{id}.{time}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks' own libraries.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
