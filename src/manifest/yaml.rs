//! YAML text to documents that know their line, and back.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_yaml::Spanned;

/// One document of a YAML stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its content.
    pub value: Value,
    /// First line with content, counted from 1.
    pub line: u32,
}

/// Text that is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SyntaxError {
    /// Line, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
    /// What the parser says, in one line.
    pub message: String,
}

/// Deeper than any manifest: definitions of the largest operators nest about half of it.
const DEPTH: usize = 64;
/// Stack of a thread that reads files: each level of nesting takes up to 40 KB of it where the program is not optimised.
pub const STACK: usize = 8 << 20;
/// Nodes that aliases may add to a document: an alias bomb doubles them with each line.
const REPLAYED: usize = 100_000;

/// Bounds that no file of people meets. The size of a document is its own bound.
fn budget() -> Option<serde_yaml::Budget> {
    serde_yaml::budget! {
        max_depth: DEPTH,
        max_events: usize::MAX,
        max_nodes: usize::MAX,
        max_aliases: usize::MAX,
        max_anchors: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
        enforce_alias_anchor_ratio: false,
    }
}

/// Rules as kustomize and the API server have them: only `true` and `false` are booleans, `0644` is octal, a key stands once.
fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        strict_booleans: true,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: budget(),
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: REPLAYED },
    }
}

/// All documents that hold something. `---` at the start of a line always parts documents (YAML 1.2, 9.1.2).
pub fn documents(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let mut found = Vec::new();
    for (first, chunk) in chunks(text) {
        if let Some(line) = content_line(chunk) {
            let value = parse::<Value>(chunk, first)?;
            if !value.is_null() {
                found.push(Document { value, line: first + line });
            }
        }
    }
    Ok(found)
}

/// Parts a stream at its `---` lines, without parsing: (lines before, text).
pub fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first, mut offset, mut line) = (0, 0, 0, 0);
    for row in text.split_inclusive('\n') {
        let marker = row.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && offset > start {
            parts.push((first, &text[start..offset]));
            (start, first) = (offset, line);
        }
        offset += row.len();
        line += 1;
    }
    parts.push((first, &text[start..]));
    parts
}

/// Line (from 1) of the first content in a chunk; none where there are only comments, directives and markers.
fn content_line(chunk: &str) -> Option<u32> {
    chunk
        .lines()
        .position(|row| {
            let row = row.trim();
            let row = row.strip_prefix("---").map_or(row, str::trim_start);
            !(row.is_empty() || row.starts_with('#') || row.starts_with('%') || row == "...")
        })
        .and_then(|index| u32::try_from(index + 1).ok())
}

fn parse<T: for<'de> Deserialize<'de>>(chunk: &str, lines_before: u32) -> Result<T, SyntaxError> {
    parse_with(chunk, lines_before, options())
}

fn parse_with<T: for<'de> Deserialize<'de>>(chunk: &str, lines_before: u32, options: serde_yaml::Options) -> Result<T, SyntaxError> {
    serde_yaml::from_str_with_options(chunk, options).map_err(|error| {
        let place = error.location();
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let text = error.without_snippet().to_string();
        // The parser ends its message with its own idea of the place; ours counts from the top of the file.
        let message = text.lines().next().unwrap_or_default();
        let message = message.rfind(" at line ").or_else(|| message.find(", line ")).map_or(message, |end| &message[..end]);
        // Advice to whoever calls the parser.
        let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
        SyntaxError {
            line: lines_before + place.as_ref().map_or(1, |place| number(place.line())).max(1),
            column: place.as_ref().map_or(1, |place| number(place.column())).max(1),
            message: message.trim_start_matches("error: ").to_owned(),
        }
    })
}

/// A document after substitution: what stands without quotes is read as YAML 1.1 reads it, since the agent's reader
/// (sigs.k8s.io/yaml) does. Strings that only look like something else were quoted by [`super::write()`].
pub fn substituted(text: &str) -> Result<Value, SyntaxError> {
    let options = serde_yaml::options! {
        strict_booleans: false,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: budget(),
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: REPLAYED },
    };
    parse_with(text, 0, options)
}

/// A value in which each part knows its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Line, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
    /// Content.
    pub content: Content,
}

/// Content of a [`Located`].
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Key, place of the key (line, column), value; in the order of the file.
    Map(Vec<(String, (u32, u32), Located)>),
    /// Items.
    List(Vec<Located>),
    /// Anything else.
    Scalar(Value),
}

impl Located {
    /// Parses one document.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::<Spanned<Content>>(text, 0).map(located)
    }

    /// Parses one document of a stream, as [`chunks`] gives it.
    pub fn parse_chunk(lines_before: u32, chunk: &str) -> Result<Self, SyntaxError> {
        parse::<Spanned<Content>>(chunk, lines_before).map(|node| shifted(located(node), lines_before))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Located> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(name, ..)| name == key).map(|(.., value)| value),
            _ => None,
        }
    }

    /// Items of a list, none for anything else.
    pub fn items(&self) -> &[Located] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// Text of a scalar string.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Without the places.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|(key, _, value)| (key.clone(), value.value())).collect::<Map<_, _>>())
            }
            Content::List(items) => Value::Array(items.iter().map(Located::value).collect()),
            Content::Scalar(value) => value.clone(),
        }
    }
}

fn located(node: Spanned<Content>) -> Located {
    let (line, column) = place(&node.referenced);
    Located { line, column, content: node.value }
}

fn place(location: &serde_yaml::Location) -> (u32, u32) {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).max(1);
    (number(location.line()), number(location.column()))
}

fn shifted(mut node: Located, by: u32) -> Located {
    node.line += by;
    node.content = match node.content {
        Content::Map(entries) => {
            Content::Map(entries.into_iter().map(|(key, (line, column), value)| (key, (line + by, column), shifted(value, by))).collect())
        }
        Content::List(items) => Content::List(items.into_iter().map(|item| shifted(item, by)).collect()),
        scalar @ Content::Scalar(_) => scalar,
    };
    node
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Content;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any YAML value")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Content, E> {
                Ok(Content::Scalar(value.into()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
                Ok(Content::Scalar(Value::Null))
            }

            fn visit_none<E: de::Error>(self) -> Result<Content, E> {
                Ok(Content::Scalar(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
                Content::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Spanned<Content>>()? {
                    list.push(located(item));
                }
                Ok(Content::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
                let mut map = Vec::new();
                while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Content>>()? {
                    map.push((key.value, place(&key.referenced), located(value)));
                }
                Ok(Content::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::super::write;
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn documents_know_their_first_line_of_content() {
        let text = "# head\n---\n# note\nkind: A\n---\n---\nkind: B\n";
        let found: Vec<_> =
            documents(text).expect("valid").into_iter().map(|document| (document.line, document.value["kind"].clone())).collect();
        assert_eq!(found, [(4, "A".into()), (7, "B".into())]);
    }

    #[test]
    fn what_would_take_all_memory_is_refused() {
        std::thread::Builder::new().stack_size(STACK).spawn(refuses_bombs).expect("a thread").join().expect("all refused");
    }

    fn refuses_bombs() {
        let mut aliases = "l0: &l0 [x, x]\n".to_owned();
        let mut merges = "l0: &l0 {a: 1}\n".to_owned();
        for level in 1..40 {
            let before = level - 1;
            let _ = writeln!(aliases, "l{level}: &l{level} [*l{before}, *l{before}]");
            let _ = writeln!(merges, "l{level}: &l{level} {{<<: *l{before}, b{level}: *l{before}}}");
        }
        for text in [aliases, merges, "[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000)] {
            assert!(documents(&text).is_err() && substituted(&text).is_err() && Located::parse(&text).is_err(), "{}", &text[..40]);
        }
        let deep = format!("{}x{}", "[".repeat(60), "]".repeat(60));
        assert!(documents(&deep).is_ok());
        let often = format!("a: &a x\nb: [{}]\n", vec!["*a"; 5000].join(", "));
        assert!(documents(&often).is_ok(), "one anchor, used often");
    }

    #[test]
    fn an_error_counts_lines_from_the_top_of_the_file() {
        let error = documents("a: 1\n---\nb: 2\nc: [1\nd: 3\n").expect_err("invalid");
        assert!((4..=6).contains(&error.line), "{error:?}");
        assert!(!error.message.contains("line"), "{error:?}");
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let root = Located::parse("a: 1\nb:\n  - c: x\n").expect("valid");
        let Content::Map(entries) = &root.content else { panic!("a map") };
        assert_eq!((entries[1].0.as_str(), entries[1].1), ("b", (2, 1)));
        let item = &root.get("b").expect("b").items()[0];
        assert_eq!((item.get("c").expect("c").line, item.get("c").expect("c").column), (3, 8));
    }

    #[test]
    fn scalars_are_read_as_kubernetes_reads_them() {
        let value = &documents("a: yes\nb: 0644\nc: true\nd: 1.0\ne: '1'\nf: 1e3\ng: ~\nh: 2024-01-01\n").expect("valid")[0].value;
        assert_eq!(value["a"], "yes");
        assert_eq!(value["b"], 420);
        assert_eq!(value["c"], true);
        assert_eq!(value["e"], "1");
        assert_eq!(value["g"], Value::Null);
        assert_eq!(value["h"], "2024-01-01");
    }

    #[test]
    fn strings_that_look_like_something_else_survive_a_round_trip() {
        let texts = [
            "true",
            "1",
            "null",
            "x: y",
            "line\nbreak\n",
            "0644",
            "yes",
            "~",
            "- x",
            "1e3",
            "",
            " a",
            "#x",
            "0x1f",
            "1_000",
            ".5",
            "2024-01-01",
            "a\n\n  b\n",
            "\n",
            "tail  \n",
            "a # b",
            "a:",
            "{{ x }}",
            "it's",
            "\ttab",
            "a\n b",
            " a\nb",
            "a\n\n",
            "-1",
            "+",
            "-",
            "%x",
            "---",
            "é",
            "\u{1}",
            "12:30:45",
            "a\"b",
            "key: |\n  x\n",
            "*a",
            "x\\y",
        ];
        for text in texts {
            let value = serde_json::json!({"k": text, "list": [text, {"a": text, "b": [text]}, [text, []]], text: {}});
            assert_eq!(documents(&write(&value)).expect(text)[0].value, value, "{text:?}\n{}", write(&value));
            assert_eq!(substituted(&write(&value)).expect(text), value, "{text:?}\n{}", write(&value));
        }
    }

    #[test]
    fn a_variable_alone_is_written_without_quotes_so_that_a_number_becomes_one() {
        assert_eq!(write(&serde_json::json!({"port": "${PORT}", "on": "${A:=yes}"})), "\"on\": ${A:=yes}\nport: ${PORT}\n");
        assert_eq!(substituted("a: yes\nb: 80\nc: \"80\"\n").expect("valid"), serde_json::json!({"a": true, "b": 80, "c": "80"}));
    }
}
