//! E-mail, handed in at a submission server with TLS and a login, as staff do it.

use std::error::Error as _;
use std::fs;
use std::io;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::dial;
use super::message::{self, Message};
use super::secret;
use super::trouble::{Stage, Trouble};
use crate::policy::{Email, Security};

/// A server that takes nothing for so long is away.
const CONNECT: Duration = Duration::from_secs(10);

pub async fn deliver(email: &Email, message: &Message) -> Result<(), Trouble> {
    let password = String::from_utf8(secret::read(&email.password_file)?).map_err(|_| {
        let why = format!("{} is no text", email.password_file.display());
        Trouble::new(Stage::Setup, why, "write the password into it as UTF-8")
    })?;
    let letter = letter(email, message)?;
    let parameters = parameters(email)?;
    let tls = match email.security {
        Security::StartTls => Tls::Required(parameters),
        Security::Implicit => Tls::Wrapper(parameters),
    };
    // The transport looks it up again, but does not tell when there is no such name.
    dial::resolve(&email.host, email.port).await?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(email.host.clone())
        .port(email.port)
        .tls(tls)
        .credentials(Credentials::new(email.user.clone(), password))
        .timeout(Some(CONNECT))
        .build();
    transport.send(letter).await.map(drop).map_err(|error| trouble(&error, email))
}

fn parameters(email: &Email) -> Result<TlsParameters, Trouble> {
    let unfit = |error: &dyn std::fmt::Display| {
        Trouble::new(Stage::Setup, format!("the authorities can't be read: {error}"), "check `authorities`")
    };
    let mut builder = TlsParameters::builder(email.host.clone());
    if let Some(path) = &email.authorities {
        let pem = fs::read(path).map_err(|error| unfit(&error))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| unfit(&error))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|error| unfit(&error))
}

fn letter(email: &Email, message: &Message) -> Result<lettre::Message, Trouble> {
    let unfit = |error: &dyn std::fmt::Display| {
        Trouble::new(Stage::Setup, format!("the message can't be written: {error}"), "check `from` and `to`")
    };
    let mailbox = |address: &str| {
        address.parse().map(|address| Mailbox::new(None, address)).map_err(|error| unfit(&error))
    };
    let mut builder = lettre::Message::builder()
        .from(mailbox(&email.from)?)
        .subject(format!("[smtpfence {}] {}", message.gateway, message.text))
        .message_id(Some(format!("<{}@{}>", message.id, message::gateway())))
        .date(message.time.try_into().map_err(|error: jiff::Error| unfit(&error))?)
        // So that no absence notice answers (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .header(ContentType::TEXT_PLAIN);
    for address in &email.to {
        builder = builder.to(mailbox(address)?);
    }
    builder.body(message.plain()).map_err(|error| unfit(&error))
}

fn trouble(error: &Error, email: &Email) -> Trouble {
    let mut whole = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !whole.contains(&inner_text) {
            whole.push_str(&format!(": {inner_text}"));
        }
        source = inner.source();
    }
    let later = "look into the server's log; the message is sent again";
    match error.status().map(u16::from) {
        Some(454 | 530 | 534 | 535 | 538) => {
            let why = format!("{} refuses the login of {}: {whole}", email.host, email.user);
            Trouble::new(Stage::Login, why, "check `user` and the password in `password_file`")
        }
        Some(_) if error.is_permanent() => {
            let why = format!("{} refuses the message: {whole}", email.host);
            let next = "check that this login may send as `from`, and the addresses in `to`";
            Trouble::new(Stage::Answer, why, next).for_good()
        }
        Some(_) => Trouble::new(Stage::Answer, format!("{} takes it later: {whole}", email.host), later),
        None if whole.contains("STARTTLS") => {
            let next = "without TLS nothing is sent: turn STARTTLS on there, or use port 465";
            Trouble::new(Stage::Tls, format!("{} offers no STARTTLS", email.host), next)
        }
        None if has_source(error, is_tls) || error.is_tls() => dial::no_tls(&whole),
        None if has_source(error, is_unreachable) => {
            dial::unreachable(format!("{}:{}: {whole}", email.host, email.port))
        }
        None if error.is_client() => {
            let why = format!("{} offers no login that is known here: {whole}", email.host);
            Trouble::new(Stage::Login, why, "turn PLAIN or LOGIN on there")
        }
        None => Trouble::new(Stage::Answer, whole, later),
    }
}

fn has_source(error: &Error, fits: fn(&(dyn std::error::Error + 'static)) -> bool) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if fits(inner) {
            return true;
        }
        source = inner.source();
    }
    false
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|it| it.is::<rustls::Error>())
}

fn is_unreachable(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::event::Event;
    use crate::notify::message::{Batch, Kind};
    use crate::policy::Topic;

    #[test]
    fn what_the_network_says_begins_no_header() {
        let email = Email {
            host: "mail.example.com".into(),
            port: 587,
            security: Security::StartTls,
            user: "gw".into(),
            password_file: "/nowhere".into(),
            from: "gw@example.com".into(),
            to: vec!["it@example.com".into()],
            authorities: None,
        };
        let mut batch = Batch::default();
        let hostile = "eth0\r\nBcc: victim@example.com\r\n\r\nbody";
        batch.add(&Event::alarm(Topic::Coverage, hostile, hostile));
        let mut message = Message::of(Kind::Events, "it", &mut batch, jiff::Timestamp::UNIX_EPOCH);
        let head = |message: &Message| {
            let text = String::from_utf8(letter(&email, message).unwrap().formatted()).unwrap();
            text.split_once("\r\n\r\n").unwrap().0.to_owned()
        };
        assert!(head(&message).contains("Subject: [smtpfence"), "{}", head(&message));
        assert!(!head(&message).contains("\r\nBcc:"), "{}", head(&message));
        // Even if something before were to fail.
        message.text = hostile.to_owned();
        assert!(!head(&message).contains("\r\nBcc:"), "{}", head(&message));
    }
}
