//! Colours that mean something, or none where the user wants none.

use ratatui::style::{Color, Modifier, Style};

/// How each kind of text looks. The sixteen colours of the terminal's own theme, so that they can be read on it.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    colours: bool,
}

impl Palette {
    /// <https://no-color.org>: any text in `NO_COLOR` turns colours off.
    pub fn of_environment() -> Self {
        Self { colours: std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()) }
    }

    #[cfg(test)]
    pub const fn new(colours: bool) -> Self {
        Self { colours }
    }

    /// Something that an admin has to look at now.
    pub fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn warning(self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub fn bars(self) -> Style {
        self.coloured(Color::Cyan)
    }

    /// Names of columns and fields.
    pub fn label(self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The line over a list.
    pub fn heading(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Black).bg(Color::Cyan),
            false => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// The line over a list that the cursor is not in.
    pub fn quiet_heading(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::White).bg(Color::DarkGray),
            false => Style::new().add_modifier(Modifier::UNDERLINED),
        }
    }

    pub fn cursor(self) -> Style {
        // Without the colours of the cells, which reversed can't be read.
        Style::new().fg(Color::Reset).bg(Color::Reset).add_modifier(Modifier::REVERSED)
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}
