//! What the demo shows, scene by scene.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Host;
use lab::frame::Mac;
use serde_json::Value;

use super::agent::{self, Agent, Attempt};
use super::stage::Stage;
use super::swaks::Way;
use super::tally::{Should, Tally};
use super::{interrupt, screen, spray};

/// How long the printer tries to connect; shorter than the second after which TCP tries again.
const PRINTER_PATIENCE: Duration = Duration::from_millis(400);

/// How long the agent may take to flag whoever has shown enough.
const FLAGGED: Duration = Duration::from_secs(5);

/// What a performance consists of.
pub struct Performance<'a> {
    pub tally: &'a mut Tally,
    pub stage: &'a Stage,
    pub agent: Option<Agent<'a>>,
}

/// Plays all scenes. Whatever happens, everything they made is gone afterwards.
pub fn play(binary: &Path, tally: &mut Tally) -> Result<()> {
    screen::title(
        "The stage: two desktops, a printer, a mail server, a gateway with NAT, and a mail provider outside",
    );
    let stage = Stage::build()?;
    let mut play = Performance { tally, stage: &stage, agent: None };
    play.without_smtpfence()?;
    play.start(binary)?;
    play.submission()?;
    play.staff_on_25()?;
    play.mail_server()?;
    play.bot()?;
    play.agent()?.status()?;
    play.flags()?;
    play.agent_killed()?;
    play.detached()
}

impl<'a> Performance<'a> {
    fn without_smtpfence(&mut self) -> Result<()> {
        screen::title("Without smtpfence, everybody reaches port 25");
        self.mail("without smtpfence: staff on 25", "before", Way::Port25, Should::Arrive)?;
        if let Some(line) = self.stage.provider.log_line(&[": connect from", "203.0.113."]) {
            screen::output([line.as_str()]);
            screen::explain("That is all the world sees of who it was: the gateway's own address.");
        }
        self.spray("without smtpfence: a bot's 24 servers", Should::Arrive)
    }

    fn start(&mut self, binary: &Path) -> Result<()> {
        screen::title("smtpfence starts on the gateway, with this policy");
        interrupt::check()?;
        screen::output(agent::POLICY.lines());
        screen::command("gateway", "smtpfence run --policy policy.yaml");
        self.agent = Some(Agent::start(&self.stage.lab, binary)?);
        screen::output(["READY"]);
        Ok(())
    }

    fn submission(&mut self) -> Result<()> {
        screen::title(
            "Staff send through their provider: 587 with STARTTLS, 465 with TLS, both with a login",
        );
        self.mail("staff through 587", "via-587", Way::Port587, Should::Arrive)?;
        self.mail("staff through 465", "via-465", Way::Port465, Should::Arrive)
    }

    fn staff_on_25(&mut self) -> Result<()> {
        screen::title("Staff on port 25: does not leave, and the log says who it was, NAT or not");
        let before = self.logged();
        self.mail("staff on 25", "blocked", Way::Port25, Should::BeBlocked)?;
        let attempts = self.agent()?.attempts().split_off(before);
        screen::output(attempts.iter().map(|attempt| attempt.line.as_str()));
        let provider = self.stage.provider_address().to_string();
        attempts.iter().try_for_each(|attempt| check_attempt(attempt, self.stage.staff(), &provider))
    }

    fn mail_server(&mut self) -> Result<()> {
        screen::title("Staff hand their mail to the company's mail server, which delivers it on port 25");
        self.mail("mail server on 25", "by-mail-server", Way::MailServer, Should::Arrive)?;
        if let Some(line) = self.stage.company.log_line(&["by-mail-server", "status=sent"]) {
            screen::output([line.as_str()]);
        }
        Ok(())
    }

    fn bot(&mut self) -> Result<()> {
        screen::title("A spam bot on the other desktop tries 24 mail servers, 8 by IPv4 and 16 by IPv6");
        let before = self.logged();
        self.spray("a bot's 24 servers", Should::BeBlocked)?;
        let attempts = self.agent()?.attempts().split_off(before);
        for attempt in &attempts {
            check_attempt(attempt, self.stage.infected(), attempt.text("destination"))?;
        }
        let fields = ["client_mac", "client", "destination", "verdict"];
        let lines = attempts.iter().map(|attempt| {
            let [mac, client, destination, verdict] = fields.map(|key| attempt.text(key));
            format!("{mac} {client} -> {destination} port 25: {verdict}")
        });
        screen::output(lines.collect::<Vec<_>>().iter().map(String::as_str));
        let tried: BTreeSet<String> = spray::destinations().iter().map(ToString::to_string).collect();
        let named: BTreeSet<String> = attempts.iter().map(|a| a.text("destination").into()).collect();
        ensure!(tried == named, "the log names {named:?}, but the bot tried {tried:?}");
        Ok(())
    }

    fn flags(&mut self) -> Result<()> {
        screen::title(
            "A printer that nobody has told about port 587 tries again and again; who is the infected one?",
        );
        for _ in 0..4 {
            interrupt::check()?;
            let server = SocketAddr::from((self.stage.provider_address(), 25));
            ensure!(
                self.stage.printer().connect(server, PRINTER_PATIENCE).is_err(),
                "the printer got through"
            );
        }
        let (infected, printer) = (self.stage.infected().mac(), self.stage.printer().mac());
        let mail_server = self.stage.lab.mail_server().mac();
        let agent = self.agent()?;
        let verdict = |flags: &[Value], mac: Mac| {
            let flag = flags.iter().find(|flag| flag["host"] == mac.to_string());
            flag.and_then(|flag| flag["verdict"].as_str()).map(str::to_owned)
        };
        let right = |flags: &[Value]| {
            verdict(flags, infected).as_deref() == Some("infected")
                && verdict(flags, printer).as_deref() == Some("misconfigured")
                && verdict(flags, mail_server).is_none()
        };
        interrupt::wait_until(FLAGGED, || agent.flags().is_ok_and(|flags| right(&flags)))?;
        agent.show_flags()?;
        let flags = agent.flags()?;
        ensure!(right(&flags), "the flags are wrong: {flags:#?}");
        Ok(())
    }

    fn agent_killed(&mut self) -> Result<()> {
        screen::title("The agent is killed: the kernel goes on enforcing its last policy");
        self.agent()?.kill9()?;
        self.mail("agent dead: staff on 25", "blocked-dead", Way::Port25, Should::BeBlocked)?;
        self.mail("agent dead: staff through 587", "via-587-dead", Way::Port587, Should::Arrive)?;
        self.mail("agent dead: mail server on 25", "by-mail-server-dead", Way::MailServer, Should::Arrive)?;
        self.agent()?.status()
    }

    fn detached(&mut self) -> Result<()> {
        screen::title("Only `smtpfence detach` ends enforcement");
        self.agent()?.detach()?;
        self.mail("detached: staff on 25", "after", Way::Port25, Should::Arrive)
    }

    fn agent(&mut self) -> Result<&mut Agent<'a>> {
        self.agent.as_mut().context("smtpfence was never started")
    }
}

/// Whether a line of the log tells the truth about `host`.
fn check_attempt(attempt: &Attempt, host: &Host, destination: &str) -> Result<()> {
    let own = [host.addr4().to_string(), host.addr6().to_string()];
    let right = own.iter().any(|address| address == attempt.text("client"))
        && attempt.text("client_mac") == host.mac().to_string()
        && attempt.text("destination") == destination
        && attempt.number("destination_port") == Some(25)
        && attempt.text("interface") == "lan0"
        && attempt.text("verdict") == "drop"
        && attempt.text("reason") == "not-a-mail-server";
    let line = &attempt.line;
    ensure!(right, "the log is wrong about an attempt of {} ({}): {line}", own.join(" or "), host.mac());
    Ok(())
}
