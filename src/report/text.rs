//! Text with meaning: spans that carry a tone instead of a colour, cut by columns, and the words for times and counts.

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a piece of text means. Colours are chosen here and, for report.html, in its style sheet; nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Just text.
    Normal,
    /// Names and headings.
    Strong,
    /// Of less weight: times, counts, reasons.
    Faint,
    /// Ready, done.
    Good,
    /// Being applied.
    Busy,
    /// Applied, becoming ready.
    Settling,
    /// To be looked at.
    Caution,
    /// Failed.
    Bad,
}

impl Tone {
    /// The 16 ANSI colours only: they follow the user's own light or dark theme.
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Normal => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => color(AnsiColor::Green),
            Self::Busy => color(AnsiColor::Cyan),
            Self::Settling => color(AnsiColor::Blue),
            Self::Caution => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red).bold(),
        }
    }
}

/// A line of spans. Holds no control characters: what a server says cannot move the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Tone, String)>);

impl Line {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds text.
    #[must_use]
    pub(crate) fn add(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.push(tone, text);
        self
    }

    /// Adds text in place.
    pub(crate) fn push(&mut self, tone: Tone, text: impl AsRef<str>) {
        let text = clean(text.as_ref());
        if !text.is_empty() {
            self.0.push((tone, text));
        }
    }

    /// Adds spaces up to a column; at least one where the line is longer.
    #[must_use]
    pub(crate) fn up_to(mut self, column: usize) -> Self {
        let width = self.width();
        let spaces = if width <= column { column - width } else { 1 };
        self.push(Tone::Normal, " ".repeat(spaces));
        self
    }

    /// With another line behind.
    #[must_use]
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Columns that it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// Cut to at most so many columns, with `…` at the cut.
    #[must_use]
    pub(crate) fn cut(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns;
        let mut kept = Vec::new();
        for (tone, text) in self.0 {
            let width = text.width();
            // One column is kept for the ellipsis.
            if width < left {
                left -= width;
                kept.push((tone, text));
            } else {
                let text = cut(&text, left.saturating_sub(1));
                kept.push((tone, if columns == 0 { String::new() } else { format!("{text}…") }));
                break;
            }
        }
        Self(kept)
    }

    /// As bytes for a terminal or file, without the line's end.
    pub(crate) fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for (tone, text) in &self.0 {
            let style = tone.style();
            if color && *tone != Tone::Normal {
                out.push_str(&style.render().to_string());
                out.push_str(text);
                out.push_str(&style.render_reset().to_string());
            } else {
                out.push_str(text);
            }
        }
        if self.0.last().is_some_and(|(tone, _)| *tone == Tone::Normal) { out.trim_end().to_owned() } else { out }
    }
}

/// One line, without control characters.
pub(crate) fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let spaced: String = text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    spaced.chars().filter(|c| !c.is_control()).collect()
}

/// The text's first columns; no ellipsis.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let mut width = 0;
    text.chars()
        .take_while(|c| {
            width += c.width().unwrap_or(0);
            width <= columns
        })
        .collect()
}

/// Folds at spaces into lines of at most so many columns; a longer word is broken.
pub(crate) fn fold(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in clean(paragraph).split_whitespace() {
            let mut word = word.to_owned();
            if !line.is_empty() && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut line));
            }
            while word.width() > columns {
                // A character wider than the line would never fit: it goes alone.
                let head = cut(&word, columns);
                let head = if head.is_empty() { word.chars().take(1).collect() } else { head };
                word = word[head.len()..].to_owned();
                lines.push(head);
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// `0.4s`, `12.3s`, `2m 03s`, `1h 02m`.
pub(crate) fn seconds(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and no run lasts so long")]
    let tenths = tenths as u64;
    let whole = tenths.div_euclid(10);
    match whole {
        0..60 => format!("{whole}.{}s", tenths % 10),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// The same in whole seconds, for clocks that tick: `0s`, `12s`, `2m 03s`.
pub(crate) fn clock(elapsed: f64) -> String {
    let text = seconds(elapsed.floor());
    text.strip_suffix(".0s").map_or(text.clone(), |whole| format!("{whole}s"))
}

/// `a, b, c and 4 more`.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let items: Vec<&str> = items.into_iter().collect();
    if items.len() <= most {
        return items.join(", ");
    }
    format!("{} and {} more", items[..most].join(", "), items.len() - most)
}
