//! Servers that notifications go to: a web server and a submission server, each with or without TLS.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate for `localhost` that only whoever names it as an authority trusts.
pub struct Tls {
    pub authority: PathBuf,
    config: Arc<ServerConfig>,
}

impl Tls {
    pub fn new(dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let authority = dir.join("authority.pem");
        std::fs::write(&authority, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self { authority, config: Arc::new(config) }
    }

    fn wrap(&self, stream: TcpStream) -> Box<dyn Wire> {
        let session = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        Box::new(StreamOwned::new(session, stream))
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A POST as it came.
pub struct Post {
    pub head: String,
    pub body: String,
}

impl Post {
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// Answers every request with `status`, and hands the requests on.
pub fn web(listener: TcpListener, status: &'static str, tls: Option<&Tls>) -> Receiver<Post> {
    let (send, posts) = channel();
    let tls = tls.map(|tls| Tls { authority: tls.authority.clone(), config: Arc::clone(&tls.config) });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut wire: Box<dyn Wire> = match &tls {
                Some(tls) => tls.wrap(stream),
                None => Box::new(stream),
            };
            // A client that breaks off is the test's business.
            let _ = answer(wire.as_mut(), status, &send);
        }
    });
    posts
}

fn answer(wire: &mut dyn Wire, status: &str, posts: &Sender<Post>) -> io::Result<()> {
    let mut head = String::new();
    loop {
        let line = line(wire)?;
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut post = Post { head, body: String::new() };
    let mut body = vec![0; post.header("content-length").trim().parse().unwrap_or(0)];
    wire.read_exact(&mut body)?;
    post.body = String::from_utf8(body).unwrap();
    let _ = posts.send(post);
    write!(wire, "HTTP/1.1 {status}\r\ncontent-length: 8\r\n\r\nbecause\n")?;
    wire.flush()
}

/// What a submission server does.
#[derive(Clone, Copy)]
pub struct Habits {
    pub implicit_tls: bool,
    pub offers_starttls: bool,
    pub user: &'static str,
    pub password: &'static str,
}

/// Takes letters from whoever logs in, and hands them on.
pub fn submission(listener: TcpListener, habits: Habits, tls: &Tls) -> Receiver<String> {
    let (send, letters) = channel();
    let tls = Tls { authority: tls.authority.clone(), config: Arc::clone(&tls.config) };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(stream, habits, &tls, &send);
        }
    });
    letters
}

fn serve(stream: TcpStream, habits: Habits, tls: &Tls, letters: &Sender<String>) -> io::Result<()> {
    let mut wire: Box<dyn Wire> = Box::new(stream.try_clone()?);
    let (mut safe, mut known) = (habits.implicit_tls, false);
    if safe {
        wire = tls.wrap(stream.try_clone()?);
    }
    let mut answer = "220 ready".to_owned();
    loop {
        write!(wire, "{answer}\r\n")?;
        wire.flush()?;
        let command = line(wire.as_mut())?;
        let mut words = command.split_whitespace();
        answer = match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" if safe => "250-localhost\r\n250 AUTH PLAIN".to_owned(),
            "EHLO" if habits.offers_starttls => "250-localhost\r\n250 STARTTLS".to_owned(),
            "EHLO" => "250 localhost".to_owned(),
            "STARTTLS" => {
                write!(wire, "220 go on\r\n")?;
                wire = tls.wrap(stream.try_clone()?);
                safe = true;
                // The client speaks first.
                let hello = line(wire.as_mut())?;
                assert!(hello.starts_with("EHLO"), "{hello}");
                "250-localhost\r\n250 AUTH PLAIN".to_owned()
            }
            "AUTH" => {
                let login = STANDARD.decode(words.nth(1).unwrap_or_default()).unwrap_or_default();
                known = safe && login == format!("\0{}\0{}", habits.user, habits.password).into_bytes();
                if known { "235 welcome".to_owned() } else { "535 5.7.8 wrong".to_owned() }
            }
            "MAIL" | "RCPT" if known => "250 fine".to_owned(),
            "DATA" if known => {
                write!(wire, "354 go on\r\n")?;
                wire.flush()?;
                let mut letter = String::new();
                loop {
                    match line(wire.as_mut())?.as_str() {
                        ".\r\n" => break,
                        text => letter.push_str(text),
                    }
                }
                let _ = letters.send(letter);
                "250 taken".to_owned()
            }
            "QUIT" | "" => return Ok(()),
            _ => "530 5.7.0 log in first".to_owned(),
        };
    }
}

/// Byte by byte: what follows a STARTTLS belongs to somebody else.
fn line(wire: &mut dyn Wire) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') && wire.read(&mut byte)? == 1 {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
