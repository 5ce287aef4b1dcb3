//! `smtpfence top`: a live screen of what is blocked, whose it is, and what to do about it.

mod dialog;
mod draw;
mod feed;
mod keys;
mod meter;
mod palette;
mod poller;
mod screen;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Parser as _;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::{Cli, Places, Verb};
use crate::failure::Failure;
use feed::{Feed, News};
use keys::Effect;
use palette::Palette;
use screen::Screen;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    places: Places,
}

/// A key is waited for so long before the news are looked at.
const TICK: Duration = Duration::from_millis(100);

pub fn run(args: &Args) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::CouldNotRun(
            "`top` needs a terminal, and this is none: `smtpfence status` and `smtpfence log --follow` need none"
                .to_owned(),
        ));
    }
    // A line on standard error would tear the screen; what matters of it is on the screen.
    let level = ::log::max_level();
    ::log::set_max_level(::log::LevelFilter::Off);
    let feed = feed::start(&args.places)?;
    // Restores the terminal after a panic too.
    let mut terminal = ratatui::try_init().map_err(|error| broken(&error))?;
    let result = show(&mut terminal, &feed, &args.places);
    ratatui::restore();
    ::log::set_max_level(level);
    result
}

fn show(terminal: &mut DefaultTerminal, feed: &Feed, places: &Places) -> Result<(), Failure> {
    let palette = Palette::of_environment();
    let mut screen = Screen::default();
    let mut changed = true;
    loop {
        if changed {
            terminal
                .draw(|frame| draw::screen(frame, &mut screen, palette))
                .map_err(|error| broken(&error))?;
        }
        changed = event::poll(TICK).map_err(|error| broken(&error))?;
        // All keys that are there are one change: pasting must not draw for each character.
        while event::poll(Duration::ZERO).map_err(|error| broken(&error))? {
            match pressed(&mut screen)? {
                Some(Effect::Quit) => return Ok(()),
                // The thread that takes it ends with this one only.
                Some(Effect::Wish(wish)) => drop(feed.wishes.send(wish)),
                Some(Effect::Run(words)) => *terminal = run_aside(&words, places)?,
                None => {}
            }
        }
        for news in feed.news.try_iter() {
            changed = true;
            match news {
                News::Look(look) => screen.take(*look),
                News::Told(result) => screen.told = Some(result),
                News::Stop => return Ok(()),
            }
        }
    }
}

/// What the next key asks for; a change of the size asks for nothing.
fn pressed(screen: &mut Screen) -> Result<Option<Effect>, Failure> {
    match event::read().map_err(|error| broken(&error))? {
        Event::Key(key) if key.kind == KeyEventKind::Press => Ok(screen.press(key)),
        _ => Ok(None),
    }
}

/// Runs a verb with the terminal as it was before, and comes back after a key.
fn run_aside(words: &[String], places: &Places) -> Result<DefaultTerminal, Failure> {
    ratatui::restore();
    let own = |option: &str, path: &std::path::Path| format!("--{option}={}", path.display());
    let places =
        [own("bpffs", &places.bpffs), own("state-dir", &places.state_dir), own("control", &places.control)];
    let words = std::iter::once("smtpfence").chain(words.iter().chain(&places).map(String::as_str));
    let result = match Cli::try_parse_from(words).map(|cli| cli.verb) {
        Ok(Verb::Allow(args)) => super::allow::run(&args),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Rejected(error.to_string())),
    };
    if let Err(failure) = result {
        failure.report();
    }
    let mut out = io::stdout().lock();
    super::printed(write!(out, "\nEnter goes back to the screen. ").and_then(|()| out.flush()))?;
    io::stdin().lock().read_line(&mut String::new()).map_err(|error| broken(&error))?;
    ratatui::try_init().map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Failure {
    Failure::CouldNotRun(format!("the terminal does not work: {error}"))
}
