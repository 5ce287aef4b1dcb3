//! Runs iproute2 and nft, and turns their failures into messages that name the failed line.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs many `ip` commands in one process, in `namespace` or in the caller's own.
pub(crate) fn batch(namespace: Option<&str>, lines: &[String]) -> Result<()> {
    let mut ip = Command::new("ip");
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    ip.args(["-batch", "-"]);
    let text = lines.join("\n") + "\n";
    feed(ip, &text).with_context(|| {
        let numbered: Vec<_> =
            lines.iter().enumerate().map(|(i, l)| format!("{:>4} ip {l}", i + 1)).collect();
        format!("iproute2 failed in {}:\n{}", namespace.unwrap_or("the host"), numbered.join("\n"))
    })?;
    Ok(())
}

/// Runs `command` with `input` on its standard input and returns what it prints.
pub(crate) fn feed(mut command: Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input says why on standard error, below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
