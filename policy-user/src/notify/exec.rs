//! Programs of the admin's: the message on standard input, nothing else of ours, and an end to it.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::event::one_line;
use super::message::Message;
use super::trouble::{Stage, Trouble};
use crate::policy::{Exec, SourceError, changeable_by_others};

/// Bytes of what a program says that reach the log.
const SAID: u64 = 2048;

/// Kills the program and all it has started when it goes out of scope, also where nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // None of them is left: just what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

pub async fn deliver(exec: &Exec, message: &Message) -> Result<(), Trouble> {
    check(&exec.program)?;
    let shown = exec.program.display();
    let mut child = start(exec).map_err(|error| {
        let next = "make it executable, with a `#!` line if it is a script";
        Trouble::new(Stage::Setup, format!("{shown} can't be started: {error}"), next)
    })?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let result = tokio::time::timeout(exec.timeout, talk(&mut child, message)).await;
    if result.is_ok() {
        // It has ended by itself, and its number may be another's by now.
        group.0 = None;
    }
    drop(group);
    let next = "run it by hand with a message on its standard input";
    match result {
        Err(_) => {
            let why = format!("{shown} was killed: it had not ended after {} s", exec.timeout.as_secs());
            Err(Trouble::new(Stage::Timeout, why, "make it faster, or give it more time: `timeout`"))
        }
        Ok(Err(error)) => Err(Trouble::new(Stage::Answer, format!("{shown}: {error}"), next)),
        Ok(Ok((status, said))) => {
            if !said.is_empty() {
                log::info!("{shown} says: {said}");
            }
            if status.success() {
                return Ok(());
            }
            Err(Trouble::new(Stage::Answer, format!("{shown} ended with {status}: {said}"), next))
        }
    }
}

fn start(exec: &Exec) -> io::Result<Child> {
    Command::new(&exec.program)
        .args(&exec.arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn talk(child: &mut Child, message: &Message) -> io::Result<(ExitStatus, String)> {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let json = message.json();
    let write = async {
        let Some(mut input) = input else { return };
        // A program that does not read all of it may still have done its work.
        let _ = input.write_all(json.as_bytes()).await;
        let _ = input.write_all(b"\n").await;
    };
    let ((), output, errors, status) = tokio::join!(write, hear(output), hear(errors), child.wait());
    let said = [output, errors].concat();
    Ok((status?, one_line(&String::from_utf8_lossy(&said))))
}

/// The beginning of what it says; it must not wait because nobody reads the rest.
async fn hear(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut said = Vec::new();
    if let Some(stream) = stream {
        let mut beginning = stream.take(SAID);
        let _ = beginning.read_to_end(&mut said).await;
        let _ = tokio::io::copy(&mut beginning.into_inner(), &mut tokio::io::sink()).await;
    }
    said
}

/// Whoever can change the program, or a directory above it, is root as soon as it runs.
fn check(program: &Path) -> Result<(), Trouble> {
    let shown = program.display();
    let whole = program.canonicalize().map_err(|error| {
        Trouble::new(Stage::Setup, format!("{shown} can't be found: {error}"), "check the path in the policy")
    })?;
    for (depth, path) in whole.ancestors().enumerate() {
        let metadata = path.metadata().map_err(|error| {
            Trouble::new(Stage::Setup, format!("{} can't be read: {error}", path.display()), "check the path")
        })?;
        // In a directory with the sticky bit nobody can exchange what is another's.
        let sticky = depth > 0 && std::os::unix::fs::MetadataExt::mode(&metadata) & 0o1000 != 0;
        match changeable_by_others(&metadata) {
            Some(SourceError::WritableByOthers { .. }) if sticky => {}
            Some(error) => {
                let why = format!("{shown} is not run as root, because of {}", path.display());
                return Err(Trouble::new(Stage::Setup, why, error.to_string()));
            }
            None => {}
        }
    }
    Ok(())
}
