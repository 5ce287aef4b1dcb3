//! The live screen without a terminal: keys pressed, frames drawn into memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::dialog::Dialog;
use super::draw;
use super::feed::{Quarantining, Wish};
use super::keys::Effect;
use super::palette::Palette;
use super::screen::{Panel, Screen};
use super::snapshot::{Agent, HostLine, HostName, Snapshot, Story, Total, Who};
use crate::attempt::Attempt;
use crate::cli::verdicts::Verdicts;
use crate::identity::{Agreement, Identity};
use crate::store::{HostTotal, Row, Totals};

const HOSTILE: &str = "\u{1b}[2J\"\n\u{202e}<b>";
const BOT: &str = "10.25.0.77";
const PRINTER: &str = "10.25.0.56";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn time(second: u64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + i64::try_from(second).unwrap()).unwrap()
}

fn host(client: &str, name: &str, attempts: u64) -> HostLine {
    let reasons = vec!["not-a-mail-server"];
    let totals = Totals { attempts, would_block: 0, first: time(0), last: time(1), reasons };
    let total = HostTotal {
        client: Some(ip(client)),
        mac: None,
        interface: "lan0".to_owned(),
        totals,
        destinations: 3,
    };
    let identity =
        Identity { mac: None, vendor: None, name: Some(name.to_owned()), neighbour: Agreement::Unknown };
    HostLine { total, who: Who::of(&identity) }
}

fn attempt(sequence: i64, client: &str, destination: &str) -> Row {
    let attempt = Attempt {
        time: time(1),
        boot: 0,
        id: "0123456789ab".to_owned(),
        event: "attempt",
        verdict: "reject",
        reason: "not-a-mail-server",
        interface: HOSTILE.to_owned(),
        ifindex: 2,
        vlan: None,
        client: Some(ip(client)),
        client_mac: None,
        client_port: 40_000,
        destination: Some(ip(destination)),
        destination_port: 25,
        to_name: None,
        destination_mac: None,
        tcp_flags: "SYN".to_owned(),
        tcp_sequence: 1,
        unlisted: 0,
        rule: None,
        policy: "office".to_owned(),
        revision: "0123456789abcdef".to_owned(),
    };
    Row { sequence, packets: 1, attempt }
}

fn status(attempts: u64) -> Value {
    json!({
        "agent": { "pid": 4711 },
        "in_force": { "policy": "office", "revision": "0123456789abcdef", "mode": "enforce" },
        "coverage": [{ "interface": "lan0", "hook": "door", "position": "first" }],
        "counters": [
            { "reason": "mail-server", "denies": false, "packets": 40, "attempts": 0 },
            { "reason": "not-a-mail-server", "denies": true, "packets": attempts * 2, "attempts": attempts },
        ],
        "lost_events": 0,
        "quarantine": [],
        "flags": { "infected": 1, "suspect": 0, "misconfigured": 0 },
    })
}

fn flags() -> Verdicts {
    Verdicts::from_agent(json!([{
        "host": BOT, "verdict": "infected", "since": time(0), "acknowledged": null,
        "evidence": { "sentence": "12 sites in an hour", "remedy": "take it off the network" },
    }]))
}

/// What is seen in that second; a host makes an attempt a second.
fn look(second: u64, rows: Vec<Row>) -> Snapshot {
    let name = |client: &str| HostName { client: Some(ip(client)), mac: None, interface: "lan0".to_owned() };
    let accounts = vec![Total { host: name(BOT), attempts: 100 + second }];
    Snapshot {
        time: time(second),
        moment: Duration::from_secs(second),
        agent: Agent::Answers,
        status: Ok(status(100 + second)),
        accounts: Arc::new(accounts),
        verdicts: Ok(flags()),
        hosts: Ok(Arc::new(vec![host(PRINTER, "scanner", 900), host(BOT, HOSTILE, 100)])),
        rows,
        story: None,
    }
}

/// After some seconds of attempts.
fn screen() -> Screen {
    let mut screen = Screen::default();
    screen.take(look(1, vec![attempt(1, PRINTER, "203.0.113.1")]));
    screen.take(look(2, vec![attempt(2, BOT, "203.0.113.2"), attempt(3, BOT, "203.0.113.3")]));
    screen
}

fn drawn(screen: &mut Screen, width: u16, height: u16, colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::screen(frame, screen, Palette::new(colours))).unwrap();
    terminal.backend().buffer().clone()
}

fn text(screen: &mut Screen) -> String {
    let buffer = drawn(screen, 80, 24, true);
    let lines = buffer.content.chunks(80);
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

fn press(screen: &mut Screen, code: KeyCode) -> Option<Effect> {
    screen.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn type_in(screen: &mut Screen, text: &str) {
    for c in text.chars() {
        assert_eq!(press(screen, KeyCode::Char(c)), None, "{c}");
    }
}

fn tell_story(screen: &mut Screen) {
    let mut next = look(3, Vec::new());
    next.story = Some(Arc::new(Story {
        client: ip(BOT),
        since: time(0),
        identity: Identity { name: Some(HOSTILE.to_owned()), ..Identity::default() },
        story: Ok(None),
        entries: vec![json!({ "kind": "exception", "name": HOSTILE })],
        next: Vec::new(),
        rows: Vec::new(),
    }));
    screen.take(next);
}

#[test]
fn everything_has_its_place_on_eighty_by_twenty_four() {
    let text = text(&mut screen());
    for part in [
        "office 01234567  enforce",
        "agent 4711  1 hooks covered  0 lost events  1 infected",
        "not-a-mail-server               1.0       2.0          102",
        "10.25.0.77 infected         1.0       100     3      1 s",
        "10.25.0.56 -                  -       900     3      1 s scanner",
        "203.0.113.3",
        "1/2 by verdict",
        "A allow ? help q quit",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let newest_first = text.find("203.0.113.3").unwrap() < text.find("203.0.113.1 ").unwrap();
    assert!(newest_first, "{text}");
}

#[test]
fn no_size_of_the_terminal_is_too_much_for_it() {
    let states: [fn(&mut Screen); 6] = [
        |_| {},
        |screen| drop(press(screen, KeyCode::Char('?'))),
        |screen| drop(press(screen, KeyCode::Char('A'))),
        |screen| type_in(screen, "/bot"),
        |screen| {
            press(screen, KeyCode::Enter);
            tell_story(screen);
            press(screen, KeyCode::End);
        },
        |screen| screen.told = Some(Err("x".repeat(500))),
    ];
    for prepare in states {
        for (width, height) in (0..=13).flat_map(|n| [(n * 16, n * 3), (20, n), (80, n * 2)]) {
            let mut screen = screen();
            prepare(&mut screen);
            drawn(&mut screen, width, height, true);
        }
    }
    assert!(drawn(&mut screen(), 40, 5, true).content.iter().any(|cell| cell.symbol() == "q"));
}

#[test]
fn names_from_the_network_can_not_act_on_the_terminal() {
    let mut wide = screen();
    let mut story = screen();
    press(&mut story, KeyCode::Enter);
    tell_story(&mut story);
    for screen in [&mut wide, &mut story] {
        let buffer = drawn(screen, 160, 50, true);
        let all: String = buffer.content.iter().map(|cell| cell.symbol()).collect();
        assert!(!all.chars().any(|c| c.is_control() || c == '\u{202e}'), "{all:?}");
        assert!(all.contains(r"\u{1b}[2J"), "the name is not shown at all: {all}");
    }
}

#[test]
fn no_colour_means_none() {
    let coloured = |colours| {
        let buffer = drawn(&mut screen(), 80, 24, colours);
        buffer.content.iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
    };
    assert!(coloured(true) && !coloured(false));
}

#[test]
fn the_cursor_stays_on_its_host_however_the_list_moves() {
    let mut screen = screen();
    assert_eq!(screen.hosts()[0].line.total.client, Some(ip(BOT)), "the gravest verdict is first");
    press(&mut screen, KeyCode::Down);
    assert_eq!(screen.host_at(), 1);
    // By attempts the scanner is first.
    press(&mut screen, KeyCode::Char('s'));
    press(&mut screen, KeyCode::Char('s'));
    assert_eq!((screen.host_at(), screen.hosts()[0].line.total.client), (0, Some(ip(PRINTER))));
    press(&mut screen, KeyCode::Tab);
    press(&mut screen, KeyCode::Down);
    assert_eq!((screen.panel, screen.chosen_attempt), (Panel::Attempts, Some(2)));
    screen.take(look(3, vec![attempt(4, BOT, "203.0.113.4")]));
    assert_eq!(screen.attempt_at(), 2);
}

#[test]
fn the_filter_takes_words_of_any_column() {
    let mut screen = screen();
    type_in(&mut screen, "/INFECTED 203.0.113");
    assert!(screen.hosts().is_empty());
    assert_eq!(screen.attempts().len(), 2);
    press(&mut screen, KeyCode::Esc);
    type_in(&mut screen, "/scan");
    press(&mut screen, KeyCode::Enter);
    assert_eq!((screen.hosts().len(), screen.attempts().len()), (1, 1));
    // The filter has the keys no more.
    press(&mut screen, KeyCode::Char('?'));
    assert_eq!(screen.dialog, Some(Dialog::Help));
    press(&mut screen, KeyCode::Char('q'));
    press(&mut screen, KeyCode::Esc);
    assert_eq!(screen.hosts().len(), 2);
}

#[test]
fn a_quarantine_takes_a_reason_and_a_yes() {
    let mut screen = screen();
    type_in(&mut screen, "Q2h");
    press(&mut screen, KeyCode::Enter);
    press(&mut screen, KeyCode::Enter);
    assert!(text(&mut screen).contains("reason is missing"));
    type_in(&mut screen, "a bot, q");
    press(&mut screen, KeyCode::Enter);
    assert!(text(&mut screen).contains("smtpfence quarantine 10.25.0.77 --for 2h --reason 'a bot, q'"));
    // Enter is no yes: it may be held down.
    assert_eq!(press(&mut screen, KeyCode::Enter), None);
    let asked = Quarantining { host: ip(BOT), seconds: 7200, reason: "a bot, q".to_owned() };
    assert_eq!(press(&mut screen, KeyCode::Char('y')), Some(Effect::Wish(Wish::Quarantine(asked))));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Some(Effect::Quit));
}

#[test]
fn release_ends_what_there_is_to_end() {
    let mut screen = screen();
    press(&mut screen, KeyCode::Char('R'));
    let released = press(&mut screen, KeyCode::Char('y'));
    assert_eq!(released, Some(Effect::Wish(Wish::ReleaseFlag(BOT.to_owned()))));
    press(&mut screen, KeyCode::Down);
    press(&mut screen, KeyCode::Char('R'));
    assert!(text(&mut screen).contains("10.25.0.56 is neither in quarantine nor flagged"));
    let mut quarantined = look(3, Vec::new());
    quarantined.status.as_mut().unwrap()["quarantine"] = json!([{ "host": PRINTER, "reason": "" }]);
    screen.take(quarantined);
    press(&mut screen, KeyCode::Char('R'));
    let released = press(&mut screen, KeyCode::Char('y'));
    assert_eq!(released, Some(Effect::Wish(Wish::EndQuarantine(ip(PRINTER)))));
}

#[test]
fn an_allow_is_for_the_attempt_under_the_cursor() {
    let mut screen = screen();
    press(&mut screen, KeyCode::Tab);
    press(&mut screen, KeyCode::End);
    press(&mut screen, KeyCode::Char('A'));
    (0..3).for_each(|_| drop(press(&mut screen, KeyCode::Enter)));
    type_in(&mut screen, "ticket");
    press(&mut screen, KeyCode::Enter);
    type_in(&mut screen, "it");
    press(&mut screen, KeyCode::Enter);
    let Some(Effect::Run(words)) = press(&mut screen, KeyCode::Char('y')) else { panic!("nothing is run") };
    let expected =
        ["allow", "--from=10.25.0.56", "--to=203.0.113.1", "--for=14d", "--reason=ticket", "--owner=it"];
    assert_eq!(words, expected);
}

#[test]
fn an_agent_that_goes_and_comes_back_is_told() {
    let mut screen = screen();
    for second in [3, 4] {
        screen.take(Snapshot { agent: Agent::Gone, ..look(second, Vec::new()) });
    }
    let gone = text(&mut screen);
    assert!(gone.contains("AGENT GONE since") && gone.contains("(1 s): the kernel goes on"), "{gone}");
    // The totals go on: they are the kernel's.
    assert!(gone.contains("104"), "{gone}");
    screen.take(look(5, Vec::new()));
    assert!(!text(&mut screen).contains("GONE"));
    screen.take(Snapshot { agent: Agent::Silent, ..look(6, Vec::new()) });
    assert!(text(&mut screen).contains("AGENT DOES NOT ANSWER"));
}
