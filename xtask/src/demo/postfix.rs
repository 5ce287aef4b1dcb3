//! A Postfix of its own in one host of the lab: configuration, queue, log and mailboxes below one directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{ChildGuard, Host};

use super::interrupt;

pub const LOGIN: &str = "staff@provider.example";
pub const PASSWORD: &str = "correct-horse";
const STARTUP: Duration = Duration::from_secs(20);
/// `nobody`, who owns the mailboxes: Postfix delivers to none that belongs to root.
const MAILBOX_OWNER: u32 = 65534;

/// A running Postfix. Its processes live in the host's namespace and end with the lab.
pub struct Postfix {
    directory: PathBuf,
    _wrapper: ChildGuard,
}

/// What every Postfix needs to run beside others, without DNS and away from the host's own.
fn common(directory: &Path, name: &str) -> String {
    let directory = directory.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log/mail.log
maillog_file_prefixes = {directory}
myhostname = {name}
inet_interfaces = all
inet_protocols = all
mydestination =
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
"
    )
}

const SERVICES: &str = "
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// The outside provider: takes mail for `@provider.example` on 25, and from its customers on 587 and 465.
    pub fn provider(host: &Host, directory: &Path) -> Result<Self> {
        make_tree(directory)?;
        make_certificate(directory)?;
        make_logins(directory)?;
        let at = directory.display();
        let main = common(directory, "mx.provider.example")
            + &format!(
                "mynetworks = 127.0.0.0/8
virtual_mailbox_domains = provider.example
virtual_mailbox_base = {at}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{MAILBOX_OWNER}
virtual_gid_maps = static:{MAILBOX_OWNER}
smtpd_tls_cert_file = {at}/certificate.pem
smtpd_tls_key_file = {at}/key.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
cyrus_sasl_config_path = {at}/etc/sasl
smtpd_sasl_local_domain = provider.example
"
            );
        let submission = "-o smtpd_sasl_auth_enable=yes -o smtpd_tls_security_level=encrypt \
                          -o smtpd_relay_restrictions=permit_sasl_authenticated,reject";
        let master = format!(
            "25  inet n - n - 30 smtpd\n\
             587 inet n - n - 10 smtpd {submission}\n\
             465 inet n - n - 10 smtpd {submission} -o smtpd_tls_wrappermode=yes\n{SERVICES}"
        );
        Self::start(host, directory, &main, &master)
    }

    /// The company's mail server: takes mail from the LAN and hands it to the provider on port 25.
    pub fn company(host: &Host, directory: &Path, provider: std::net::Ipv4Addr) -> Result<Self> {
        make_tree(directory)?;
        let main = common(directory, "mail.company.example")
            + &format!(
                "mynetworks = 127.0.0.0/8 10.25.0.0/24 [fd25::]/64
relayhost = [{provider}]:25
smtp_tls_security_level = may
smtp_connect_timeout = 5s
"
            );
        Self::start(host, directory, &main, &format!("25 inet n - n - 10 smtpd\n{SERVICES}"))
    }

    fn start(host: &Host, directory: &Path, main: &str, master: &str) -> Result<Self> {
        let configuration = directory.join("etc");
        write(&configuration, "main.cf", main)?;
        write(&configuration, "master.cf", master)?;
        let mut postfix = host.command("postfix");
        postfix.arg("-c").arg(configuration).arg("start-fg");
        let mut wrapper = host.spawn(postfix)?;
        let answers = || host.connect(([127, 0, 0, 1], 25).into(), Duration::from_secs(1)).is_ok();
        if interrupt::wait_until(STARTUP, || answers() || matches!(wrapper.try_wait(), Ok(Some(_))))?
            && answers()
        {
            return Ok(Self { directory: directory.into(), _wrapper: wrapper });
        }
        let log = fs::read_to_string(directory.join("log/mail.log")).unwrap_or_default();
        bail!("Postfix does not start:\n{}\n{log}", wrapper.stderr().join("\n"))
    }

    /// How many messages for `user` were delivered. There is one mailbox for all: the envelope tells them apart.
    pub fn messages(&self, user: &str) -> usize {
        let header = format!("Delivered-To: {user}@provider.example");
        let is_for_user = |path: PathBuf| {
            let message = fs::read_to_string(path).unwrap_or_default();
            message.lines().take_while(|line| !line.is_empty()).any(|line| line == header)
        };
        let entries = fs::read_dir(self.directory.join("mail/all/new")).into_iter().flatten().flatten();
        entries.filter(|entry| is_for_user(entry.path())).count()
    }

    /// Waits until a message for `user` was delivered.
    pub fn wait_for_message(&self, user: &str, timeout: Duration) -> Result<bool> {
        interrupt::wait_until(timeout, || self.messages(user) > 0)
    }

    /// The last line of its log that contains all of `words`, without the date.
    pub fn log_line(&self, words: &[&str]) -> Option<String> {
        let log = fs::read_to_string(self.directory.join("log/mail.log")).ok()?;
        let line = log.lines().rev().find(|line| words.iter().all(|word| line.contains(word)))?;
        Some(line.find("postfix/").map_or(line, |at| &line[at..]).to_string())
    }
}

fn make_tree(directory: &Path) -> Result<()> {
    for name in ["etc/sasl", "queue", "log", "mail", "data"] {
        let path = directory.join(name);
        fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
    }
    let (uid, gid) = postfix_user()?;
    chown(directory.join("data"), Some(uid), Some(gid))
        .context("could not give Postfix its data directory")?;
    chown(directory.join("mail"), Some(MAILBOX_OWNER), Some(MAILBOX_OWNER))
        .context("could not give away the mailbox directory")
}

fn postfix_user() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
    let fields = users.lines().find_map(|line| line.strip_prefix("postfix:"));
    let mut numbers = fields.into_iter().flat_map(|f| f.split(':').skip(1)).filter_map(|n| n.parse().ok());
    numbers.next().zip(numbers.next()).context("there is no user `postfix`; reinstall the package postfix")
}

fn make_certificate(directory: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=mx.provider.example"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("certificate.pem"));
    quietly(openssl, "")
}

/// A password database that only this Postfix reads.
fn make_logins(directory: &Path) -> Result<()> {
    let database = directory.join("etc/sasl/sasldb2");
    let configuration = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: PLAIN LOGIN\n",
        database.display()
    );
    write(directory, "etc/sasl/smtpd.conf", &configuration)?;
    let (user, domain) = LOGIN.split_once('@').context("a login has a domain")?;
    let mut saslpasswd = Command::new("saslpasswd2");
    saslpasswd.args(["-p", "-c", "-u", domain, "-f"]).arg(&database).arg(user);
    quietly(saslpasswd, PASSWORD)?;
    let (_, gid) = postfix_user()?;
    chown(&database, None, Some(gid))?;
    fs::set_permissions(&database, fs::Permissions::from_mode(0o640))
        .context("could not open the logins to Postfix")
}

fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
}

/// Runs a program whose output matters only if it fails.
fn quietly(mut command: Command, input: &str) -> Result<()> {
    use std::io::Write;
    use std::process::Stdio;

    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
