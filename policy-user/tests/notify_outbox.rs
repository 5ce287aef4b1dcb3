//! When a receiver is told: grouped, not repeated, tried again, once a day; on clocks that the test sets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use policy_user::notify::{
    Again, Event, FIRST_PAUSE, Kept, Kind, LISTED, LONGEST_PAUSE, MOST_TRIES, Message, Outbox, SETTLE, Stage,
    Step, Trouble,
};
use policy_user::policy::{Exec, Receiver, Topic, Way};
use tokio::time::Instant;

const GROUP: Duration = Duration::from_secs(60);

fn receiver(topics: &[Topic], digest: Option<jiff::civil::Time>) -> Receiver {
    Receiver {
        name: "it".into(),
        way: Way::Exec(Exec { program: "/bin/true".into(), arguments: Vec::new(), timeout: GROUP }),
        topics: topics.to_vec(),
        group: GROUP,
        repeat_after: Duration::from_secs(3600),
        digest,
    }
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-24T{text}Z").parse().unwrap()
}

fn event(topic: Topic, subject: &str, time: &str) -> Event {
    Event { time: at(time), ..Event::alarm(topic, subject, "what has happened") }
}

/// An outbox with the clocks it is asked with.
struct Scene {
    outbox: Outbox,
    now: Instant,
    local: DateTime,
}

impl Scene {
    fn new(topics: &[Topic]) -> Self {
        Self::with(receiver(topics, None), Kept::default())
    }

    fn with(receiver: Receiver, kept: Kept) -> Self {
        let now = Instant::now();
        Self { outbox: Outbox::new(receiver, kept, now), now, local: "2026-11-24T12:00:00".parse().unwrap() }
    }

    fn offer(&mut self, topic: Topic, subject: &str, time: &str) -> bool {
        self.outbox.offer(&event(topic, subject, time), self.now)
    }

    fn next(&mut self) -> Step {
        self.outbox.next(self.now, at("12:00:00"), self.local)
    }

    fn sent(&mut self) -> Message {
        match self.next() {
            Step::Send(message) => *message,
            other => panic!("nothing to send: {other:?}"),
        }
    }

    fn done(&mut self, outcome: Result<(), Trouble>) {
        self.outbox.done(outcome, self.now, at("12:00:00"));
    }
}

fn trouble() -> Trouble {
    Trouble::new(Stage::Connect, "away", "wait")
}

#[test]
fn a_thousand_flags_at_once_are_one_message_and_the_next_waits_for_the_group() {
    let mut scene = Scene::new(&[Topic::Infected]);
    for host in 0..1_000 {
        assert!(scene.offer(Topic::Infected, &format!("10.25.{}.{}", host / 250, host % 250), "12:00:00"));
    }
    assert_eq!(scene.next(), Step::Wait(Some(SETTLE)));
    scene.now += SETTLE;
    let message = scene.sent();
    assert_eq!((message.counts[&Topic::Infected], message.events.len()), (1_000, LISTED));
    assert_eq!(message.omitted, 1_000 - LISTED as u64);
    scene.done(Ok(()));
    assert_eq!(scene.next(), Step::Wait(None));
    assert!(scene.offer(Topic::Infected, "late", "12:00:03"));
    assert_eq!(scene.next(), Step::Wait(Some(GROUP)));
    scene.now += GROUP;
    assert_eq!(scene.sent().counts[&Topic::Infected], 1);
    assert_eq!(scene.outbox.counts().dropped, 1_000 - LISTED as u64);
}

#[test]
fn a_receiver_is_told_only_what_it_wants_and_nothing_twice() {
    let mut scene = Scene::new(&[Topic::Infected, Topic::Released]);
    assert!(!scene.offer(Topic::Suspect, "a", "12:00:00"));
    assert!(scene.offer(Topic::Infected, "a", "12:00:00"));
    assert!(!scene.offer(Topic::Infected, "a", "12:59:59"), "within repeat_after");
    assert!(scene.offer(Topic::Infected, "b", "12:30:00"), "another host");
    assert!(scene.offer(Topic::Infected, "a", "13:00:00"), "after repeat_after");
    assert!(scene.offer(Topic::Released, "a", "13:01:00"));
    assert!(scene.offer(Topic::Infected, "a", "13:02:00"), "infected again after a release is news");
    assert!(scene.offer(Topic::Infected, "b", "00:00:00"), "the clock was set back");
    assert_eq!(scene.outbox.counts().repeated, 1);
}

#[test]
fn pauses_double_up_to_the_longest_and_end_after_a_day() {
    let mut scene = Scene::new(&[Topic::Infected]);
    scene.offer(Topic::Infected, "a", "12:00:00");
    scene.now += SETTLE;
    let begun = scene.now;
    let first = scene.sent();
    let mut pause = FIRST_PAUSE;
    for tried in 1..MOST_TRIES {
        scene.done(Err(trouble()));
        assert_eq!(scene.next(), Step::Wait(Some(pause)), "after {tried} tries");
        scene.now += pause;
        assert_eq!(scene.sent(), first, "the same message, with its id");
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    assert!(scene.now - begun > Duration::from_secs(23 * 3600), "{:?}", scene.now - begun);
    assert_eq!(scene.outbox.counts().failed, 0);
    scene.done(Err(trouble()));
    let counts = scene.outbox.counts();
    assert_eq!((counts.failed, counts.dropped, counts.retries), (1, 1, u64::from(MOST_TRIES)));
    assert_eq!((scene.outbox.waiting(), scene.next()), (0, Step::Wait(None)));
}

#[test]
fn a_message_that_is_not_wanted_gives_way_to_the_next() {
    let mut scene = Scene::new(&[Topic::Infected]);
    scene.offer(Topic::Infected, "a", "12:00:00");
    scene.now += SETTLE;
    scene.sent();
    scene.offer(Topic::Infected, "b", "12:00:02");
    scene.done(Err(trouble().for_good()));
    scene.now += FIRST_PAUSE;
    assert_eq!(scene.sent().events[0].subject, "b");
    assert_eq!(trouble().for_good().again, Again::Never);
}

#[test]
fn what_waits_outlives_a_restart() {
    let mut scene = Scene::new(&[Topic::Infected]);
    scene.offer(Topic::Infected, "a", "12:00:00");
    scene.now += SETTLE;
    let first = scene.sent();
    scene.offer(Topic::Infected, "b", "12:00:02");
    let text = serde_json::to_string(scene.outbox.kept()).unwrap();
    let kept: Kept = serde_json::from_str(&text).unwrap();
    let mut scene = Scene::with(receiver(&[Topic::Infected], None), kept);
    assert_eq!(scene.sent(), first);
    scene.done(Ok(()));
    scene.now += GROUP;
    assert_eq!(scene.sent().events[0].subject, "b");
    assert!(!scene.offer(Topic::Infected, "a", "12:10:00"), "it was told before the restart");
}

#[test]
fn the_digest_comes_once_a_day_and_only_if_something_has_happened() {
    let mut scene = Scene::with(receiver(&[], Some("08:00:00".parse().unwrap())), Kept::default());
    let wait = Step::Wait(Some(Duration::from_secs(60)));
    assert_eq!(scene.next(), wait, "it begins to listen after today's time");
    scene.offer(Topic::Misconfigured, "a", "13:00:00");
    scene.offer(Topic::Suspect, "b", "13:00:00");
    for (local, due) in [
        ("2026-11-24T23:59:00", false),
        ("2026-11-25T07:59:59", false),
        ("2026-11-25T08:00:00", true),
        ("2026-11-25T08:01:00", false),
        // Nothing has happened since.
        ("2026-11-26T08:00:00", false),
        // The clock is set back; and forward by a year.
        ("2026-11-20T09:00:00", false),
        ("2027-11-26T09:00:00", false),
    ] {
        scene.local = local.parse().unwrap();
        let step = scene.next();
        assert_eq!(step != wait, due, "{local}: {step:?}");
        if let Step::Send(message) = step {
            assert_eq!((message.kind, message.counts.len()), (Kind::Digest, 2));
            assert_eq!(message.events[0].event, Topic::Suspect, "the gravest first");
            scene.done(Ok(()));
        }
    }
    scene.offer(Topic::Misconfigured, "c", "14:00:00");
    scene.local = "2026-11-25T09:00:00".parse().unwrap();
    assert_eq!(scene.next(), wait, "the clock is right again");
    scene.local = "2026-11-26T09:00:00".parse().unwrap();
    scene.now += GROUP;
    assert_eq!(scene.sent().events[0].subject, "c");
}
