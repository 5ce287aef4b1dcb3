//! What each key does to the screen, and what it asks of the world.

use std::net::IpAddr;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::dialog::{Confirm, Deed, Dialog, Form};
use super::feed::Wish;
use super::screen::{Panel, Screen};
use crate::cli::text;

/// What a key asks for beyond the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Quit,
    Wish(Wish),
    /// Words for our own command line, with the terminal as it was.
    Run(Vec<String>),
}

/// Lines that a page key moves by.
const PAGE: isize = 10;

impl Screen {
    pub fn press(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Effect::Quit);
        }
        self.told = None;
        match self.dialog.take() {
            Some(dialog) => self.press_in_dialog(dialog, key),
            None if self.typing_filter => {
                self.press_in_filter(key);
                None
            }
            None => self.press_in_lists(key),
        }
    }

    fn press_in_dialog(&mut self, dialog: Dialog, key: KeyEvent) -> Option<Effect> {
        match (dialog, key.code) {
            // Any key ends the help.
            (Dialog::Help, _) | (_, KeyCode::Esc) => None,
            (Dialog::Form(form), _) => {
                self.dialog = Some(press_in_form(form, key));
                None
            }
            (Dialog::Confirm(Confirm { deed, .. }), KeyCode::Char('y' | 'Y')) => Some(match deed {
                Deed::Wish(wish) => Effect::Wish(wish),
                Deed::Run(words) => Effect::Run(words),
            }),
            (Dialog::Confirm(_), KeyCode::Char('n' | 'N' | 'q')) => None,
            (confirm, _) => {
                self.dialog = Some(confirm);
                None
            }
        }
    }

    fn press_in_filter(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter | KeyCode::Down | KeyCode::Up => self.typing_filter = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing_filter = false;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => self.filter.clear(),
            KeyCode::Char(c) if !c.is_control() => self.filter.extend(c.to_lowercase()),
            _ => {}
        }
    }

    fn press_in_lists(&mut self, key: KeyEvent) -> Option<Effect> {
        match key.code {
            KeyCode::Char('q' | 'x') => return Some(Effect::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.dialog = Some(Dialog::Help),
            KeyCode::Char('Q') => self.ask_quarantine(),
            KeyCode::Char('R') => self.ask_release(),
            KeyCode::Char('A' | 'a') => self.ask_allow(),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => return self.back(key.code),
            _ if self.open.is_some() => {}
            KeyCode::Tab | KeyCode::BackTab => {
                self.panel = match self.panel {
                    Panel::Hosts => Panel::Attempts,
                    Panel::Attempts => Panel::Hosts,
                };
            }
            KeyCode::Char('/') | KeyCode::F(3) => self.typing_filter = true,
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Enter | KeyCode::Right => return self.open_chosen(),
            _ => {}
        }
        None
    }

    /// One step out: from the host to the lists; there Escape takes the filter away.
    fn back(&mut self, key: KeyCode) -> Option<Effect> {
        if self.open.take().is_some() {
            return Some(Effect::Wish(Wish::Story(None)));
        }
        if key == KeyCode::Esc {
            self.filter.clear();
        }
        None
    }

    fn open_chosen(&mut self) -> Option<Effect> {
        let (client, _) = self.subject()?;
        (self.open, self.scrolled) = (Some(client), 0);
        Some(Effect::Wish(Wish::Story(Some(client))))
    }

    /// Moves the cursor, or scrolls where a host fills the screen.
    fn go(&mut self, steps: isize) {
        if self.open.is_some() {
            let steps = i32::try_from(steps).unwrap_or(if steps < 0 { i32::MIN } else { i32::MAX });
            let to = i32::from(self.scrolled).saturating_add(steps).clamp(0, i32::from(u16::MAX));
            self.scrolled = u16::try_from(to).unwrap_or(u16::MAX);
            return;
        }
        let moved = |at: usize, all: usize| at.saturating_add_signed(steps).min(all.saturating_sub(1));
        match self.panel {
            Panel::Hosts => {
                let (at, hosts) = (self.host_at(), self.hosts());
                let chosen = hosts.get(moved(at, hosts.len())).map(|host| host.line.name());
                self.chosen_host = chosen;
            }
            Panel::Attempts => {
                let (at, attempts) = (self.attempt_at(), self.attempts());
                let to = moved(at, attempts.len());
                // On the first line the cursor stays with whatever is newest.
                let chosen = attempts.get(to).map(|row| row.sequence).filter(|_| to > 0);
                self.chosen_attempt = chosen;
            }
        }
    }

    /// The line of the list that the cursor is on.
    pub fn host_at(&self) -> usize {
        let Some(chosen) = &self.chosen_host else { return 0 };
        self.hosts().iter().position(|host| host.line.name() == *chosen).unwrap_or(0)
    }

    pub fn attempt_at(&self) -> usize {
        let Some(chosen) = self.chosen_attempt else { return 0 };
        self.attempts().iter().position(|row| row.sequence <= chosen).unwrap_or(0)
    }

    /// The client that a key acts on, and the destination that is shown with it.
    fn subject(&self) -> Option<(IpAddr, Option<IpAddr>)> {
        if let Some(client) = self.open {
            let story = self.story().and_then(|story| story.story.as_ref().ok()?.as_ref());
            let most = story.and_then(|story| story.destinations.first()?.destination);
            return Some((client, most));
        }
        match self.panel {
            Panel::Hosts => {
                let hosts = self.hosts();
                let client = hosts.get(self.host_at())?.line.total.client?;
                let newest = self.attempts().into_iter().find(|row| row.attempt.client == Some(client));
                Some((client, newest.and_then(|row| row.attempt.destination)))
            }
            Panel::Attempts => {
                let attempts = self.attempts();
                let attempt = &attempts.get(self.attempt_at())?.attempt;
                Some((attempt.client?, attempt.destination))
            }
        }
    }

    fn ask_quarantine(&mut self) {
        if let Some((client, _)) = self.subject() {
            self.dialog = Some(Dialog::Form(Form::quarantine(client)));
        }
    }

    fn ask_allow(&mut self) {
        if let Some((client, destination)) = self.subject() {
            self.dialog = Some(Dialog::Form(Form::allow(client, destination)));
        }
    }

    fn ask_release(&mut self) {
        let Some((client, _)) = self.subject() else { return };
        let flag = self.flag_of(client).map(|flag| (text(&flag["host"]), text(&flag["verdict"])));
        if self.quarantine(client).is_some() {
            self.dialog = Some(Dialog::Confirm(Confirm {
                question: format!("End the quarantine of {client}? Then the policy alone decides about it."),
                command: format!("smtpfence release {client}"),
                deed: Deed::Wish(Wish::EndQuarantine(client)),
            }));
        } else if let Some((host, verdict)) = flag {
            self.dialog = Some(Dialog::Confirm(Confirm {
                question: format!(
                    "Take back that {host} is {verdict}? If it does it again, it is flagged again."
                ),
                command: format!("smtpfence flags release {host}"),
                deed: Deed::Wish(Wish::ReleaseFlag(host)),
            }));
        } else {
            self.told = Some(Err(format!("{client} is neither in quarantine nor flagged")));
        }
    }
}

fn press_in_form(mut form: Form, key: KeyEvent) -> Dialog {
    match key.code {
        KeyCode::Tab | KeyCode::Down => form.go(1),
        KeyCode::BackTab | KeyCode::Up => form.go(form.fields.len() - 1),
        KeyCode::Enter if form.at + 1 < form.fields.len() => form.go(1),
        KeyCode::Enter => {
            if let Some(confirm) = form.submit() {
                return Dialog::Confirm(confirm);
            }
        }
        KeyCode::Backspace => form.delete(),
        KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => form.clear(),
        KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::CONTROL) => form.type_in(c),
        _ => {}
    }
    Dialog::Form(form)
}
