//! Questions to whoever sits in front of it.

use std::io::{self, IsTerminal as _};

/// The answer to a question, on one line; none where standard input is no terminal, and so nobody can answer.
pub(super) fn ask(question: &str) -> io::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    anstream::eprint!("{question} ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(answer.trim().to_owned()))
}
