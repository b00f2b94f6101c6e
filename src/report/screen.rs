//! The lower part of a terminal, which is drawn again and again, below lines that stay.

use super::text::Line;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);

const SHOW_CURSOR: &str = "\x1b[?25h";
const HIDE_CURSOR: &str = "\x1b[?25l";
/// The terminal shows what stands between these at once; those that do not know it ignore it.
/// <https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036>
const BEGIN_FRAME: &str = "\x1b[?2026h";
const END_FRAME: &str = "\x1b[?2026l";

/// Shows the cursor again if a live view hid it. For those who leave the process at once (a second Ctrl-C); everything else
/// does it by itself.
pub fn restore_terminal() {
    if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
        let _ = io::stderr().write_all(SHOW_CURSOR.as_bytes());
    }
}

/// Draws below what scrolls. Its writes never fail: a terminal that is gone must not end a run.
#[derive(Debug)]
pub(crate) struct Screen<W: Write> {
    out: W,
    color: bool,
    /// Columns of each line that is drawn now.
    drawn: Vec<usize>,
}

impl<W: Write> Screen<W> {
    /// Nothing is drawn yet.
    pub(crate) fn new(out: W, color: bool) -> Self {
        Self { out, color, drawn: Vec::new() }
    }

    /// Adds lines that stay, and draws the frame below them, all in one write. Lines of the frame must not be wider than the terminal.
    pub(crate) fn draw(&mut self, above: &[Line], frame: &[Line], columns: usize) {
        let mut text = String::from(BEGIN_FRAME);
        if !CURSOR_HIDDEN.swap(true, Ordering::SeqCst) {
            text.push_str(HIDE_CURSOR);
        }
        text.push_str(&self.back(columns));
        if !above.is_empty() {
            // Lines that stay may be wider than the terminal: everything below must be empty, not only the line itself.
            text.push_str("\x1b[J");
            for line in above {
                text.push_str(&line.render(self.color));
                text.push('\n');
            }
        }
        for (place, line) in frame.iter().enumerate() {
            if place > 0 {
                text.push('\n');
            }
            text.push_str(&line.render(self.color));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        text.push_str(END_FRAME);
        self.drawn = frame.iter().map(Line::width).collect();
        self.write(&text);
    }

    /// Removes the frame, shows the cursor.
    pub(crate) fn clear(&mut self, columns: usize) {
        if self.drawn.is_empty() && !CURSOR_HIDDEN.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("{}\x1b[J{SHOW_CURSOR}", self.back(columns));
        self.drawn.clear();
        CURSOR_HIDDEN.store(false, Ordering::SeqCst);
        self.write(&text);
    }

    /// To the first column of the first drawn line. A terminal that has become narrower has folded what was drawn.
    fn back(&self, columns: usize) -> String {
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        if rows > 1 { format!("\r\x1b[{}A", rows - 1) } else { "\r".to_owned() }
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
            self.write(SHOW_CURSOR);
        }
    }
}

/// Columns and rows of the terminal that stderr is.
pub(crate) fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (80, 24),
    }
}
