//! The agent meets its memory limit, by a flood or by a policy, and is killed for it: enforcement goes on, and the next agent
//! adopts.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use accounts::{POLICY, Sender};
use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, gate, provider, require_root_or_skip};

#[allow(dead_code, reason = "of the accounts only their sender is needed here")]
#[path = "../accounts/mod.rs"]
mod accounts;

/// A memory cgroup of the test's own, of either version; gone when dropped.
struct MemoryGroup {
    path: PathBuf,
    /// Names of the limit, of the present use, and of where kills are counted.
    files: [&'static str; 3],
}

impl MemoryGroup {
    /// `None` where this machine has no memory controller to use.
    fn make() -> Result<Option<Self>> {
        const V1: [&str; 3] = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"];
        const V2: [&str; 3] = ["memory.max", "memory.current", "memory.events"];
        for line in fs::read_to_string("/proc/self/mounts")?.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, at, kind, options, ..] = fields.as_slice() else { continue };
            let files = match *kind {
                "cgroup" if options.split(',').any(|option| option == "memory") => V1,
                "cgroup2" => V2,
                _ => continue,
            };
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = Path::new(at).join(format!("smtpfence-test-{}-{number}", std::process::id()));
            fs::create_dir(&path).with_context(|| format!("could not make {}", path.display()))?;
            let group = Self { path, files };
            // One of version 2 has the file only where the controller is handed down to it.
            if group.path.join(files[0]).exists() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// The words that put what they start into the group, for [`Agent::start_by`].
    fn starter(&self) -> [String; 4] {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        ["sh".into(), "-c".into(), enter, "sh".into()]
    }

    /// Leaves the processes in the group so much more than what they use now.
    fn tighten(&self, room: u64) -> Result<()> {
        let [limit, usage, _] = self.files.map(|file| self.path.join(file));
        let used: u64 = fs::read_to_string(&usage)?.trim().parse()?;
        fs::write(&limit, (used + room).to_string()).context("could not set the limit")
    }

    /// How often the kernel has killed a process of the group for want of memory.
    fn kills(&self) -> Result<u64> {
        let text = fs::read_to_string(self.path.join(self.files[2]))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("this kernel does not count its kills")?.parse()?)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whoever was in it has ended or is killed with the lab; the kernel refuses while one is in there.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn an_agent_killed_for_its_memory_leaves_enforcement_and_the_next_adopts_it() -> Result<()> {
    require_root_or_skip!();
    let Some(group) = MemoryGroup::make()? else {
        gate::skip("no memory cgroup: a kernel with CONFIG_MEMCG, and the controller handed down");
        return Ok(());
    };
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    agent.start_by(&group.starter().each_ref().map(String::as_str));
    agent.run()?;
    ensure!(group.kills()? == 0);
    // A pause takes no more than this, a flood of new hosts does.
    group.tighten(256 << 10)?;
    let ended = flood_until_it_ends(&lab, &mut agent)?;
    ensure!(ended.signal() == Some(9) && group.kills()? >= 1, "it ended with {ended}");

    ensure!(!lab.client(0).can_connect(provider(25)), "the client got out after the kill");
    ensure!(lab.mail_server().can_connect(provider(25)), "mail stopped with the agent");
    let counted = agent.counted("not-a-mail-server", "packets")?;
    let mut sender = Sender::new(&lab, 0)?;
    (0..100).try_for_each(|host| sender.send(Some(host), [10, 25, 32, 0], host, 7))?;
    ensure!(
        agent.counted("not-a-mail-server", "packets")? == counted + 100,
        "counters stopped with the agent"
    );

    agent.kill9()?;
    agent.start_by(&[]);
    agent.run()?;
    ensure!(agent.counted("not-a-mail-server", "packets")? >= counted + 100, "the next agent began anew");
    ensure!(agent.status()?["coverage"][0]["position"] == "first");
    Ok(())
}

#[test]
fn a_reload_that_takes_more_memory_than_there_is_changes_nothing() -> Result<()> {
    require_root_or_skip!();
    let Some(group) = MemoryGroup::make()? else {
        gate::skip("no memory cgroup: a kernel with CONFIG_MEMCG, and the controller handed down");
        return Ok(());
    };
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    agent.start_by(&group.starter().each_ref().map(String::as_str));
    agent.run()?;
    let revision = agent.status()?["in_force"]["revision"].clone();
    group.tighten(16 << 20)?;
    let many: Vec<String> =
        (0..300_000_u32).map(|n| format!("100.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect();
    agent.write_policy(&POLICY.replace("[10.25.0.0/16]", &format!("[10.25.0.0/16, {}]", many.join(", "))))?;
    ensure!(!agent.reload()?.0, "300,000 networks fit into 16 MiB");
    ensure!(group.kills()? >= 1, "the limit was not met");
    ensure!(!lab.client(0).can_connect(provider(25)), "the client got out");
    ensure!(lab.mail_server().can_connect(provider(25)), "mail stopped");
    ensure!(agent.status()?["in_force"]["revision"] == revision, "{:#}", agent.status()?["in_force"]);

    agent.kill9()?;
    agent.write_policy(POLICY)?;
    agent.start_by(&[]);
    agent.run()?;
    ensure!(agent.status()?["in_force"]["revision"] == revision);
    Ok(())
}

/// New hosts without end, of which the agent must remember something.
fn flood_until_it_ends(lab: &Lab, agent: &mut Agent<'_>) -> Result<std::process::ExitStatus> {
    let mut sender = Sender::new(lab, 0)?;
    let begun = Instant::now();
    for n in 0.. {
        sender.send(Some(n), [10, 25, 0, 0], n % 65_000, n)?;
        if n % 500 == 0
            && let Some(ended) = agent.process()?.try_wait()?
        {
            return Ok(ended);
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "the limit was never met");
    }
    unreachable!("the loop has no end")
}
