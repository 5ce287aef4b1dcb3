//! What the screen asks the admin: forms, questions before something changes, help.

use std::net::IpAddr;

use super::feed::{Quarantining, Wish};

/// What stands in front of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialog {
    Help,
    Form(Form),
    Confirm(Confirm),
}

/// Texts to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub kind: Kind,
    pub fields: Vec<Field>,
    /// The field that is typed into.
    pub at: usize,
    /// Why it was not accepted.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Quarantine(IpAddr),
    Allow,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub label: &'static str,
    pub text: String,
    pub hint: &'static str,
    /// A proposal, which the first key that is typed replaces.
    proposed: bool,
}

/// The last question before something changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    pub question: String,
    /// The same as a command to paste.
    pub command: String,
    pub deed: Deed,
}

/// What happens after a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Wish(Wish),
    /// Words for our own command line, which asks again.
    Run(Vec<String>),
}

/// Characters of a field.
const LONGEST: usize = 200;

impl Form {
    pub fn quarantine(client: IpAddr) -> Self {
        let fields = vec![
            Field::new("for", "24h", "how long: 30m, 2h, 7d"),
            Field::new("reason", "", "for those who find it in the list"),
        ];
        Self { kind: Kind::Quarantine(client), fields, at: 0, error: None }
    }

    pub fn allow(from: IpAddr, to: Option<IpAddr>) -> Self {
        let to = to.map(|to| to.to_string()).unwrap_or_default();
        let fields = vec![
            Field::new("from", &from.to_string(), "client: address or network"),
            Field::new("to", &to, "mail server outside: address or network"),
            Field::new("for", "14d", "how long: 8h, 14d"),
            Field::new("reason", "", "for those who read it in a year"),
            Field::new("owner", "", "who answers for it"),
        ];
        Self { kind: Kind::Allow, fields, at: 0, error: None }
    }

    pub fn title(&self) -> String {
        match self.kind {
            Kind::Quarantine(client) => format!("Quarantine {client}"),
            Kind::Allow => "Allow: an exception in the policy file".to_owned(),
        }
    }

    /// Moves to another field, around the ends.
    pub fn go(&mut self, steps: usize) {
        self.at = (self.at + steps) % self.fields.len();
    }

    pub fn type_in(&mut self, c: char) {
        self.error = None;
        let Field { text, proposed, .. } = &mut self.fields[self.at];
        if std::mem::take(proposed) {
            text.clear();
        }
        if !c.is_control() && text.chars().count() < LONGEST {
            text.push(c);
        }
    }

    pub fn delete(&mut self) {
        self.error = None;
        self.fields[self.at].proposed = false;
        self.fields[self.at].text.pop();
    }

    pub fn clear(&mut self) {
        self.fields[self.at].text.clear();
    }

    /// The question that follows; none where a field is not filled in well, which is then pointed at.
    pub fn submit(&mut self) -> Option<Confirm> {
        if let Some(empty) = self.fields.iter().position(|field| field.text.trim().is_empty()) {
            self.at = empty;
            self.error = Some(format!("{} is missing", self.fields[empty].label));
            return None;
        }
        let length = self.fields.iter().position(|field| field.label == "for").unwrap_or(0);
        let seconds = match crate::cli::seconds(self.fields[length].text.trim()) {
            Ok(seconds) if seconds > 0 => seconds,
            _ => return self.refuse(length, "that is no length of time: write 30m, 2h or 7d".to_owned()),
        };
        Some(match self.kind {
            Kind::Quarantine(host) => self.confirm_quarantine(host, seconds),
            Kind::Allow => self.confirm_allow(),
        })
    }

    fn refuse(&mut self, at: usize, why: String) -> Option<Confirm> {
        (self.at, self.error) = (at, Some(why));
        None
    }

    fn text(&self, label: &str) -> String {
        let field = self.fields.iter().find(|field| field.label == label);
        field.map(|field| field.text.trim().to_owned()).unwrap_or_default()
    }

    fn confirm_quarantine(&self, host: IpAddr, seconds: i64) -> Confirm {
        let (length, reason) = (self.text("for"), self.text("reason"));
        Confirm {
            question: format!(
                "Deny everything that {host} sends to blocked ports for {length}, whatever the policy permits it?"
            ),
            command: shell(&words(&["quarantine", &host.to_string(), "--for", &length, "--reason", &reason])),
            deed: Deed::Wish(Wish::Quarantine(Quarantining { host, seconds, reason })),
        }
    }

    fn confirm_allow(&self) -> Confirm {
        let mut command = words(&["allow"]);
        for field in &self.fields {
            // In one word: a text that begins with a dash is no option.
            command.push(format!("--{}={}", field.label, field.text.trim()));
        }
        Confirm {
            question: "Leave this screen and run it? It shows how the policy file changes and asks again."
                .to_owned(),
            command: shell(&command),
            deed: Deed::Run(command),
        }
    }
}

impl Field {
    fn new(label: &'static str, text: &str, hint: &'static str) -> Self {
        Self { label, text: text.to_owned(), hint, proposed: true }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// As it is typed into a shell.
fn shell(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    let quoted = |word: &String| match word.split_once('=') {
        _ if word.chars().all(plain) => word.clone(),
        Some((option, text)) if option.starts_with("--") => format!("{option}={}", quote(text)),
        _ => quote(word),
    };
    std::iter::once("smtpfence".to_owned()).chain(words.iter().map(quoted)).collect::<Vec<_>>().join(" ")
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 25, 0, 77));

    fn filled(mut form: Form, texts: &[(&str, &str)]) -> Form {
        for field in &mut form.fields {
            if let Some((_, text)) = texts.iter().find(|(label, _)| *label == field.label) {
                field.text = (*text).to_owned();
            }
        }
        form
    }

    #[test]
    fn a_quarantine_needs_a_time_and_a_reason() {
        let mut form = Form::quarantine(CLIENT);
        assert_eq!(form.submit(), None);
        assert_eq!((form.at, form.error.as_deref()), (1, Some("reason is missing")));
        let mut form = filled(Form::quarantine(CLIENT), &[("for", "soon"), ("reason", "bot")]);
        assert_eq!(form.submit(), None);
        assert!(form.at == 0 && form.error.unwrap().contains("30m"));
        let mut form = filled(Form::quarantine(CLIENT), &[("for", "2h"), ("reason", "it's a bot")]);
        let confirm = form.submit().unwrap();
        let asked = Quarantining { host: CLIENT, seconds: 7200, reason: "it's a bot".to_owned() };
        assert_eq!(confirm.deed, Deed::Wish(Wish::Quarantine(asked)));
        assert_eq!(confirm.command, r"smtpfence quarantine 10.25.0.77 --for 2h --reason 'it'\''s a bot'");
    }

    #[test]
    fn the_command_to_paste_is_one_for_a_shell() {
        let to = Some("203.0.113.25".parse().unwrap());
        let texts = [("reason", "$(reboot)"), ("owner", "--yes")];
        let mut form = filled(Form::allow(CLIENT, to), &texts);
        assert_eq!(
            form.submit().unwrap().command,
            "smtpfence allow --from=10.25.0.77 --to=203.0.113.25 --for=14d --reason='$(reboot)' --owner=--yes"
        );
    }
}
