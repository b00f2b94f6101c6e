//! Variable substitution as Flux does it after a build (fluxcd.io/flux/components/kustomize/kustomizations, "Post build variable
//! substitution"; the operators of fluxcd/pkg `envsubst`). Pure.
//!
//! `${var}` and its operators are replaced, `$var` is not, `$$` is `$`. Undefined variables without a default are reported and left
//! as they stand, so that the objects keep a name.

use crate::layers::outputs::is_open;
use std::collections::{BTreeMap, BTreeSet};

/// A text with its variables replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Substituted {
    /// The text.
    pub text: String,
    /// Variables that are used without a default and not defined.
    pub undefined: BTreeSet<String>,
}

/// A `${…}` that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}`: {message}")]
pub struct BadSubstitution {
    /// The expression, up to the end of its line.
    pub expression: String,
    /// What is wrong with it.
    pub message: &'static str,
}

/// Replaces all variables of a text.
pub fn substitute(text: &str, variables: &BTreeMap<String, String>) -> Result<Substituted, BadSubstitution> {
    let mut parser = Parser { rest: text, variables, undefined: BTreeSet::new(), depth: 0 };
    let mut out = String::with_capacity(text.len());
    while let Some(at) = parser.rest.find('$') {
        out.push_str(&parser.rest[..at]);
        parser.rest = &parser.rest[at..];
        if let Some(rest) = parser.rest.strip_prefix("$$") {
            out.push('$');
            parser.rest = rest;
        } else if parser.rest.starts_with("${") {
            let start = parser.rest;
            let value = parser.expression().map_err(|message| BadSubstitution {
                expression: start.lines().next().unwrap_or_default().chars().take(80).collect(),
                message,
            })?;
            out.push_str(&value);
        } else {
            out.push('$');
            parser.rest = &parser.rest[1..];
        }
    }
    out.push_str(parser.rest);
    Ok(Substituted { text: out, undefined: parser.undefined })
}

struct Parser<'a> {
    rest: &'a str,
    variables: &'a BTreeMap<String, String>,
    undefined: BTreeSet<String>,
    /// Expressions inside expressions.
    depth: u32,
}

type Value = Result<String, &'static str>;

/// More than anybody can read; each one goes down the stack.
const DEPTH: u32 = 64;
const UNCLOSED: &str = "missing closing brace";
const OPEN: &str = "an output is known only when it is made: ${NAME} and ${NAME:=default} can be used of it, no other operator";

impl<'a> Parser<'a> {
    /// At `${`.
    fn expression(&mut self) -> Value {
        if self.depth == DEPTH {
            return Err("more than 64 expressions stand inside each other");
        }
        self.depth += 1;
        let value = self.one();
        self.depth -= 1;
        value
    }

    fn one(&mut self) -> Value {
        let start = self.rest;
        self.rest = &self.rest[2..];
        if let Some(rest) = self.rest.strip_prefix('#') {
            self.rest = rest;
            let name = self.name()?;
            self.close()?;
            return self.changed(name, start, |value| value.len().to_string());
        }
        let name = self.name()?;
        let mut next = self.rest.chars();
        match (next.next(), next.next()) {
            (Some('}'), _) => {
                self.close()?;
                Ok(self.value(name, start).unwrap_or_else(|raw| raw))
            }
            (Some('='), _) => self.default(name, 1),
            (Some(':'), Some('=' | '-' | '?' | '+')) => self.default(name, 2),
            (Some(':'), _) => self.part(name, start),
            (Some(',' | '^'), _) => self.case(name, start),
            (Some('/'), _) => self.replace(name, start),
            (Some(sign @ ('#' | '%')), _) => self.trim(name, start, sign),
            _ => Err(UNCLOSED),
        }
    }

    fn name(&mut self) -> Result<&'a str, &'static str> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        if end == 0 {
            return Err("a variable name is expected after ${ (write $${ where this is no variable)");
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name)
    }

    fn close(&mut self) -> Result<(), &'static str> {
        self.rest = self.rest.strip_prefix('}').ok_or(UNCLOSED)?;
        Ok(())
    }

    /// The value, or the expression as it stands.
    fn value(&mut self, name: &str, start: &str) -> Result<String, String> {
        self.variables.get(name).cloned().ok_or_else(|| {
            self.undefined.insert(name.to_owned());
            start[..start.len() - self.rest.len()].to_owned()
        })
    }

    /// The value as an operator makes it. One that is known only when something is made cannot be worked on before.
    fn changed(&mut self, name: &str, start: &str, change: impl FnOnce(String) -> String) -> Value {
        let given = self.value(name, start);
        let expression = &start[..start.len() - self.rest.len()];
        let inside = expression.split("${").filter_map(|part| part.split(|c: char| !(c.is_alphanumeric() || c == '_')).next());
        let is_known_later = |name: &str| self.variables.get(name).is_some_and(|value| is_open(value));
        if std::iter::once(name).chain(inside).any(is_known_later) {
            return Err(OPEN);
        }
        Ok(given.map_or_else(|raw| raw, change))
    }

    /// Every operator with a word gives it where the variable is empty or undefined.
    fn default(&mut self, name: &str, skip: usize) -> Value {
        self.rest = &self.rest[skip..];
        // A default that is not used must be readable, but its variables need not be defined.
        let known = self.undefined.clone();
        let mut word = String::new();
        loop {
            if self.rest.starts_with('}') {
                self.close()?;
                break;
            } else if self.rest.starts_with("${") {
                word.push_str(&self.expression()?);
            } else {
                word.push_str(self.until(|c| c == '}')?);
            }
        }
        match self.variables.get(name).filter(|value| !value.is_empty()) {
            Some(value) => {
                self.undefined = known;
                Ok(value.clone())
            }
            None => Ok(word),
        }
    }

    /// Text up to a character or to the next `${`; not empty.
    fn until(&mut self, stop: impl Fn(char) -> bool) -> Result<&'a str, &'static str> {
        let text = self.rest;
        let end = text.char_indices().find(|(at, c)| stop(*c) || text[*at..].starts_with("${")).map(|(at, _)| at).ok_or(UNCLOSED)?;
        if end == 0 {
            return Err("a word is expected");
        }
        self.rest = &text[end..];
        Ok(&text[..end])
    }

    /// One word: a nested expression or text.
    fn word(&mut self, stop: impl Fn(char) -> bool) -> Value {
        if self.rest.starts_with("${") { self.expression() } else { self.until(stop).map(str::to_owned) }
    }

    fn part(&mut self, name: &str, start: &str) -> Value {
        self.rest = &self.rest[1..];
        let position = self.word(|c| c == ':' || c == '}')?;
        let mut length = None;
        if self.rest.starts_with(':') {
            self.rest = self.rest.trim_start_matches(':');
            length = Some(self.word(|c| c == '}')?);
        }
        self.close()?;
        self.changed(name, start, |value| part(&value, &position, length.as_deref()))
    }

    fn case(&mut self, name: &str, start: &str) -> Value {
        let end = self.rest.find(|c| c != ',' && c != '^').unwrap_or(self.rest.len()).min(2);
        let (operator, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.close()?;
        self.changed(name, start, |value| match operator {
            "," => first(&value, |c| c.to_lowercase().collect()),
            ",," => value.to_lowercase(),
            "^" => first(&value, |c| c.to_uppercase().collect()),
            "^^" => value.to_uppercase(),
            _ => value,
        })
    }

    fn replace(&mut self, name: &str, start: &str) -> Value {
        self.rest = &self.rest[1..];
        let kind = self.rest.chars().next().filter(|c| matches!(c, '/' | '#' | '%'));
        if kind.is_some() {
            self.rest = &self.rest[1..];
        }
        let pattern = if self.rest.starts_with('/') { String::new() } else { self.escaped('/')? };
        if !self.rest.starts_with('/') {
            return Err("a `/` is expected after the pattern");
        }
        self.rest = self.rest.trim_start_matches('/');
        let with = if self.rest.starts_with('}') { None } else { Some(self.escaped('}')?) };
        self.close()?;
        let text = with.as_deref().unwrap_or_default();
        self.changed(name, start, |value| match kind {
            None => value.replacen(&pattern, text, 1),
            Some('/') => value.replace(&pattern, text),
            // Without a replacement these two do nothing (funcs.go: they want both arguments).
            Some('#') => match (value.strip_prefix(&pattern), &with) {
                (Some(rest), Some(with)) => format!("{with}{rest}"),
                _ => value,
            },
            Some(_) => match (value.strip_suffix(&pattern), &with) {
                (Some(rest), Some(with)) => format!("{rest}{with}"),
                _ => value,
            },
        })
    }

    /// A word in which `\/`, `\\` and `$$` stand for their second character.
    fn escaped(&mut self, end: char) -> Value {
        if self.rest.starts_with("${") {
            return self.expression();
        }
        let mut word = String::new();
        loop {
            let mut chars = self.rest.chars();
            let Some(c) = chars.next() else { return Err(UNCLOSED) };
            let next = chars.next();
            let escape = matches!((c, next), ('\\', Some('/' | '\\')) | ('$', Some('$')));
            if c == '$' && next == Some('{') || c == end && !escape {
                return if word.is_empty() { Err("a word is expected") } else { Ok(word) };
            }
            let taken = if escape { next.unwrap_or(c) } else { c };
            word.push(taken);
            self.rest = &self.rest[c.len_utf8() + if escape { taken.len_utf8() } else { 0 }..];
        }
    }

    fn trim(&mut self, name: &str, start: &str, sign: char) -> Value {
        let longest = self.rest[1..].starts_with(sign);
        self.rest = &self.rest[if longest { 2 } else { 1 }..];
        let pattern = self.word(|c| c == '}')?;
        self.close()?;
        self.changed(name, start, |value| {
            if sign == '#' {
                trim(&value, &pattern, longest)
            } else {
                let turned = trim(&value.chars().rev().collect::<String>(), &pattern.chars().rev().collect::<String>(), longest);
                turned.chars().rev().collect()
            }
        })
    }
}

fn first(value: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = value.chars();
    chars.next().map_or_else(String::new, |c| change(c) + chars.as_str())
}

/// `${var:position:length}`; what is no number leaves the value as it is. Counted in bytes, as Flux counts.
fn part(value: &str, position: &str, length: Option<&str>) -> String {
    let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let Ok(position) = position.parse::<i64>() else { return value.to_owned() };
    let from = if position < 0 { (size + position).max(0) } else { position };
    let to = match length.map(str::parse::<i64>) {
        None => size,
        Some(Err(_)) => return value.to_owned(),
        Some(Ok(length)) if length < 0 => size + length,
        Some(Ok(length)) => from.saturating_add(length).min(size),
    };
    let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to)) else { return String::new() };
    value.get(from..to).unwrap_or_default().to_owned()
}

/// Cuts the shortest or longest start that a pattern with `*` and `?` matches.
fn trim(value: &str, pattern: &str, longest: bool) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut ends: Vec<usize> = value.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
    if longest {
        ends.reverse();
    }
    let matching = |end: &usize| wild(&pattern, &value[..*end].chars().collect::<Vec<_>>());
    ends.into_iter().find(matching).map_or(value, |end| &value[end..]).to_owned()
}

fn wild(pattern: &[char], text: &[char]) -> bool {
    match pattern.first() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).any(|skipped| wild(&pattern[1..], &text[skipped..])),
        Some('?') => !text.is_empty() && wild(&pattern[1..], &text[1..]),
        Some('\\') if pattern.len() > 1 => text.first() == Some(&pattern[1]) && wild(&pattern[2..], &text[1..]),
        Some(c) => text.first() == Some(c) && wild(&pattern[1..], &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("v", "abcABC123ABCabc"), ("path", "/path/to/file"), ("file", "bash.string.txt"), ("empty", ""), ("name", "shop"), ("W", "Word")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn eval(text: &str) -> String {
        substitute(text, &variables()).expect("valid").text
    }

    #[test]
    fn expressions_inside_expressions_have_an_end() {
        let nested = |depth: usize| "${A:-".repeat(depth) + "x" + &"}".repeat(depth);
        assert!(substitute(&nested(60), &BTreeMap::new()).is_ok());
        assert!(substitute(&nested(65), &BTreeMap::new()).is_err());
        assert!(substitute(&"${A:-".repeat(100_000), &BTreeMap::new()).is_err());
        // One beside the other is not inside.
        assert!(substitute(&"${A:-${B:-x}}".repeat(1000), &BTreeMap::new()).is_ok());
    }

    #[test]
    fn operators_do_what_flux_documents() {
        for (text, wanted) in [
            ("a ${name} b", "a shop b"),
            ("${#v}", "15"),
            ("${W,}${W,,}${name^}${name^^}", "wordwordShopSHOP"),
            ("${v:3}", "ABC123ABCabc"),
            ("${v:3:3}", "ABC"),
            ("${v:-3}", "abcABC123ABCabc"),
            ("${v:100}", ""),
            ("${v:1:-1}", "bcABC123ABCab"),
            ("${none:=x}${none:-y}${none=z}${empty:-e}", "xyze"),
            ("${name:=x}", "shop"),
            ("${none:=${name}-suffix}", "shop-suffix"),
            ("${none:=a${name}b}", "ashopb"),
            ("${none:=}", ""),
            ("${v/abc/xyz}", "xyzABC123ABCabc"),
            ("${v//abc/xyz}", "xyzABC123ABCxyz"),
            ("${v/#abc/X}", "XABC123ABCabc"),
            ("${v/%abc/X}", "abcABC123ABCX"),
            ("${name/#/prefix-}${name/%/-suffix}", "prefix-shopshop-suffix"),
            ("${path//\\//-}", "-path-to-file"),
            ("${file/./}", "bashstring.txt"),
            ("${file#*.}|${file##*.}|${file%.*}|${file%%.*}", "string.txt|txt|bash.string|bash"),
            ("${path#*/}|${path##*/}", "path/to/file|file"),
        ] {
            assert_eq!(eval(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_stays() {
        for (text, wanted) in [
            ("$name $5 cost$", "$name $5 cost$"),
            ("$${name}", "${name}"),
            ("$$$${name}", "$${name}"),
            ("a\\\\b", "a\\\\b"),
            ("$(name)", "$(name)"),
        ] {
            assert_eq!(eval(text), wanted, "{text}");
        }
    }

    #[test]
    fn an_undefined_variable_is_reported_and_left() {
        let found = substitute("${a} ${b^^} ${c:-d} ${name:=${unused}}", &variables()).expect("valid");
        assert_eq!(found.text, "${a} ${b^^} d shop");
        assert_eq!(found.undefined.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_is_not_known_yet_is_used_as_it_is_or_refused() {
        let output = crate::layers::outputs::Output { variable: "ID".into(), node: "command/a".into(), field: "id".into() };
        let variables = [("ID".to_owned(), output.mark()), ("name".to_owned(), "shop".to_owned())].into();
        for text in ["${ID}", "${ID:=x}", "${gone:=${ID}}"] {
            assert_eq!(substitute(text, &variables).expect(text).text, output.mark());
        }
        for text in ["${#ID}", "${ID^^}", "${ID:1}", "${ID/a/b}", "${ID#v*}", "${name/s/${ID}}", "${name#${ID}}"] {
            assert_eq!(substitute(text, &variables).expect_err(text).message, OPEN);
        }
    }

    #[test]
    fn what_flux_refuses_is_refused() {
        for text in ["${}", "${{ x }}", "${name", "${name-x}", "${name:}", "${name/x}", "${name#}"] {
            assert!(substitute(text, &variables()).is_err(), "{text}");
        }
    }
}
