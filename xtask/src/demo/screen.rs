//! How the demo looks: titles, explanations, and the output of programs behind a bar.

use std::io::IsTerminal;

/// Lines of one program's output that are worth the space.
const MOST_LINES: usize = 30;

/// A new scene.
pub fn title(text: &str) {
    let (on, off) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{on}── {text}{off}");
}

/// What one should know to understand what follows.
pub fn explain(text: &str) {
    println!("   {text}");
}

/// A command as it was given to a host.
pub fn command(host: &str, line: &str) {
    println!("   {host}$ {line}");
}

/// What a program said, unchanged.
pub fn output<'a>(lines: impl IntoIterator<Item = &'a str>) {
    for line in lines.into_iter().take(MOST_LINES) {
        println!("   │ {}", line.trim_end());
    }
}
