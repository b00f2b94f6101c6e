//! YAML as the agent's own writer puts it (sigs.k8s.io/yaml: block style, plain scalars wherever YAML 1.1 reads them as text).
//! Whether a scalar is quoted decides what a variable inside it becomes: `port: ${PORT}` turns into a number, as it does in Flux.

use serde_json::Value;
use std::fmt::Write as _;

/// One value as a YAML document.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        other => {
            scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pad(indent, out);
                key_text(key, out);
                out.push(':');
                nested(value, indent, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(indent, out);
                out.push('-');
                match item {
                    // The first key stands on the line of the dash.
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        block(item, indent + 2, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start_matches(' '));
                    }
                    Value::Array(list) if !list.is_empty() => {
                        let mut inner = String::new();
                        block(item, indent + 2, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start_matches(' '));
                    }
                    other => {
                        out.push(' ');
                        scalar(other, indent + 2, out);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        other => {
            out.push(' ');
            scalar(other, indent + 2, out);
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn key_text(key: &str, out: &mut String) {
    if key.contains('\n') { quoted(key, out) } else { text(key, 0, out) }
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(string) => text(string, indent, out),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn text(string: &str, indent: usize, out: &mut String) {
    let special = string.chars().any(|c| c != '\n' && (c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')));
    let lines_end_with_space = string.contains(" \n") || string.ends_with(' ');
    if string.contains('\n') {
        if special || lines_end_with_space || string.starts_with([' ', '\n']) {
            quoted(string, out);
        } else {
            literal(string, indent, out);
        }
    } else if special || is_not_text(string) {
        quoted(string, out);
    } else if is_plain(string) {
        out.push_str(string);
    } else {
        out.push('\'');
        out.push_str(&string.replace('\'', "''"));
        out.push('\'');
    }
}

fn literal(string: &str, indent: usize, out: &mut String) {
    let body = string.trim_end_matches('\n');
    out.push('|');
    match string.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    for line in string.strip_suffix('\n').unwrap_or(string).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent.max(2), out);
            out.push_str(line);
        }
    }
}

/// Double quotes; JSON's escapes are YAML's too.
fn quoted(string: &str, out: &mut String) {
    out.push_str(&Value::String(string.to_owned()).to_string());
}

/// What a YAML 1.1 reader takes for a boolean, null, number or time.
fn is_not_text(string: &str) -> bool {
    const WORDS: [&str; 11] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let lower = string.to_lowercase();
    if WORDS.contains(&lower.as_str()) || matches!(lower.as_str(), "<<" | "=" | ".nan" | ".inf" | "+.inf" | "-.inf") {
        return true;
    }
    let Some(first) = string.chars().next() else { return true };
    if !(first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return false;
    }
    let digits = string.trim_start_matches(['+', '-']);
    let number = |text: &str| {
        let text = text.replace('_', "");
        let radix = |prefix: &str, radix| text.strip_prefix(prefix).is_some_and(|rest| i128::from_str_radix(rest, radix).is_ok());
        text.parse::<f64>().is_ok() || radix("0x", 16) || radix("0X", 16) || radix("0b", 2) || radix("0o", 8)
    };
    let base_sixty =
        digits.contains(':') && digits.split(':').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    number(digits) || base_sixty || is_time(string)
}

/// Starts with a date, as a YAML timestamp does.
fn is_time(string: &str) -> bool {
    let mut parts = string.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let day = rest.bytes().take_while(u8::is_ascii_digit).count();
    year.len() == 4 && digits(year) && (1..=2).contains(&month.len()) && digits(month) && (1..=2).contains(&day)
}

/// Whether a plain scalar in a block reads back as this text.
fn is_plain(string: &str) -> bool {
    let mut chars = string.chars();
    let Some(first) = chars.next() else { return false };
    let second = chars.next();
    if string.starts_with("---") || string.starts_with("...") || string.starts_with(' ') || string.ends_with(' ') {
        return false;
    }
    if "#,[]{}&*!|>'\"%@`".contains(first) || matches!(first, '-' | '?' | ':') && second.is_none_or(|c| c == ' ') {
        return false;
    }
    !string.contains(": ") && !string.ends_with(':') && !string.contains(" #")
}
