//! What a package of the program ships beside it, and how wrong usage ends.

use std::process::{Command, Output};

fn blackstart(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blackstart")).args(arguments).output().expect("runs")
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = blackstart(&["completions", shell]);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("rehearse"), "{shell}");
    }
    let page = blackstart(&["man"]);
    assert!(page.status.success() && String::from_utf8_lossy(&page.stdout).contains(".TH blackstart 1"));
    let folder = tempfile::tempdir().expect("a folder");
    assert!(blackstart(&["man", &folder.path().display().to_string()]).status.success());
    assert!(folder.path().join("blackstart-recover.1").is_file());
}

#[test]
fn wrong_usage_is_told_with_what_is_near() {
    for (arguments, wanted) in [
        (&["plna"][..], "'plan'"),
        (&["plan", "--entrypont", "x"], "'--entrypoint'"),
        (&["rehearse", "--timeout", "3x"], "write 90s, 5m or 1h30m"),
    ] {
        let output = blackstart(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(wanted), "{text}");
        assert_eq!(output.status.code(), Some(2), "{text}");
    }
}
