//! Faults of the agent's surroundings: idle clients of the control socket, an unprivileged caller, repeated sudden death.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, provider, require_root_or_skip};

const POLICY: &str = r#"version: 1
name: faults
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
on_block: reject
mail_servers: [{ name: mx1, address: 10.25.0.25, mac: "02:00:00:00:00:25" }]
end: true
"#;

#[test]
fn a_thousand_idle_clients_keep_nobody_from_the_control_socket() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    // As the packaged unit does.
    agent.start_by(&["prlimit", "--nofile=16384"]);
    agent.run()?;
    let mut idle = Vec::new();
    for number in 0..1000 {
        let client = UnixStream::connect(agent.socket());
        idle.push(client.with_context(|| format!("client {number} was refused"))?);
    }
    let begun = Instant::now();
    // First what does not wait for ever.
    agent.get("/v1/status").context("nobody else is answered")?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    ensure!(agent.status()?["agent"].is_object(), "status came from elsewhere");
    ensure!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    ensure!(!lab.client(0).can_connect(provider(25)));
    drop(idle);
    Ok(())
}

#[test]
fn no_memory_may_be_locked_and_it_runs() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    // Without CAP_IPC_LOCK too, which would make the limit none.
    let rights = "--bounding-set=-all,+bpf,+net_admin,+perfmon";
    agent.start_by(&["prlimit", "--memlock=0", "setpriv", rights]);
    agent.run()?;
    ensure!(!lab.client(0).can_connect(provider(25)));
    Ok(())
}

#[test]
fn a_caller_without_rights_gets_one_sentence_and_changes_nothing() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    agent.start_by(&nobody);
    let refused = agent.refused()?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(2) && !told.contains("panicked"), "{told}");
    ensure!(!lab.bpffs()?.join("smtpfence").exists());
    agent.start_by(&[]);
    agent.run()?;
    // The socket itself keeps others out, not only the directory it happens to lie in.
    let directory = agent.socket().parent().context("the socket lies nowhere")?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    let mut command = lab.gateway().command(nobody[0]);
    command.args(&nobody[1..]).arg(built_binary()?).arg("reload").arg("--control").arg(agent.socket());
    let reload = command.output()?;
    ensure!(
        reload.status.code() == Some(2),
        "nobody may reload: {}",
        String::from_utf8_lossy(&reload.stderr)
    );
    Ok(())
}

#[test]
fn sudden_death_again_and_again_opens_nothing_and_stops_no_mail() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let watch = scope.spawn(|| {
            let (mut leaks, mut lost, mut tries) = (0, Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                tries += 1;
                leaks += usize::from(lab.client(0).can_connect(provider(25)));
                let mail = lab.mail_server().connect(provider(25), Duration::from_secs(2));
                lost.extend(mail.err().map(|error| error.to_string()));
                // Faster ones would use up the ports of one address, which are free again only after a minute.
                std::thread::sleep(Duration::from_millis(5));
            }
            (leaks, lost, tries)
        });
        let deaths = (|| -> Result<()> {
            for _ in 0..20 {
                agent.kill9()?;
                agent.run()?;
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let (leaks, lost, tries) = watch.join().expect("the watching thread");
        ensure!(leaks == 0, "{leaks} of {tries} tries leaked");
        ensure!(lost.is_empty(), "of {tries} tries {} of the mail server failed: {:?}", lost.len(), lost[0]);
        ensure!(tries > 20, "only {tries} tries were made");
        deaths
    })
}
