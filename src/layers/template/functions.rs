//! Functions of templates: Go's own, and those of Sprig and Argo CD that ApplicationSets use. None looks at the machine or the clock.

use super::eval::{Fault, is_true, printed};
use super::paths;
use super::slug::slug;
use crate::manifest::yaml::documents;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// The name that counts: some functions have several, and those with `must` are the same here, where errors are always told.
fn usual(name: &str) -> &str {
    match name {
        "tuple" => "list",
        "push" | "mustPush" | "mustAppend" => "append",
        "biggest" => "max",
        "trimall" => "trimAll",
        "mustPrepend" => "prepend",
        "mustFirst" => "first",
        "mustRest" => "rest",
        "mustLast" => "last",
        "mustInitial" => "initial",
        "mustReverse" => "reverse",
        "mustUniq" => "uniq",
        "mustWithout" => "without",
        "mustHas" => "has",
        "mustSlice" => "slice",
        "mustChunk" => "chunk",
        "mustCompact" => "compact",
        "mustFromJson" => "fromJson",
        "mustToJson" | "toRawJson" | "mustToRawJson" => "toJson",
        "mustToPrettyJson" => "toPrettyJson",
        "mustToYaml" => "toYaml",
        "mustRegexMatch" => "regexMatch",
        "mustRegexFind" => "regexFind",
        "mustRegexFindAll" => "regexFindAll",
        "mustRegexReplaceAll" => "regexReplaceAll",
        "mustRegexReplaceAllLiteral" => "regexReplaceAllLiteral",
        "mustRegexSplit" => "regexSplit",
        "osBase" => "base",
        "osDir" => "dir",
        "osClean" => "clean",
        "osExt" => "ext",
        "osIsAbs" => "isAbs",
        other => other,
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, Fault> {
    let name = usual(name);
    let count = arguments.len();
    let text = |at: usize| arguments.get(at).map(plain).unwrap_or_default();
    let last = || text(count.saturating_sub(1));
    let value = |at: usize| arguments.get(at).cloned().unwrap_or_default();
    let needs = |wanted: usize| if count < wanted { Err(wrong(name, &format!("needs {wanted} arguments"))) } else { Ok(()) };
    needs(least(name).ok_or_else(|| Fault::Function(name.to_owned()))?)?;
    Ok(match name {
        // Logic.
        "not" | "empty" => (!is_true(&value(0))).into(),
        "and" => arguments.iter().find(|value| !is_true(value)).cloned().unwrap_or_else(|| value(count.saturating_sub(1))),
        "or" | "coalesce" => arguments
            .iter()
            .find(|value| is_true(value))
            .cloned()
            .unwrap_or_else(|| if name == "or" { value(count.saturating_sub(1)) } else { Value::Null }),
        "eq" => arguments[1..].iter().any(|other| same(&arguments[0], other)).into(),
        "ne" => (!same(&arguments[0], &arguments[1])).into(),
        "lt" => (compare(name, arguments)? == Ordering::Less).into(),
        "le" => (compare(name, arguments)? != Ordering::Greater).into(),
        "gt" => (compare(name, arguments)? == Ordering::Greater).into(),
        "ge" => (compare(name, arguments)? != Ordering::Less).into(),
        "default" => {
            if is_true(&value(count - 1)) {
                value(count - 1)
            } else {
                value(0)
            }
        }
        "ternary" => {
            if is_true(&value(2)) {
                value(0)
            } else {
                value(1)
            }
        }
        "fail" => return Err(Fault::Wrong(text(0))),
        // Texts.
        "print" => print(arguments).into(),
        "println" => format!("{}\n", arguments.iter().map(printed).collect::<Vec<_>>().join(" ")).into(),
        "cat" => arguments.iter().filter(|value| !value.is_null()).map(printed).collect::<Vec<_>>().join(" ").into(),
        "plural" => text(usize::from(whole(&value(2)) != 1)).into(),
        "toStrings" => items(&value(0)).iter().map(printed).collect::<Vec<_>>().into(),
        "sha256sum" => sha256(&text(0)).into(),
        "adler32sum" => adler32(&text(0)).to_string().into(),
        "regexQuoteMeta" => regex::escape(&text(0)).into(),
        "regexMatch" => regex(name, &text(0))?.is_match(&text(1)).into(),
        "regexFind" => regex(name, &text(0))?.find(&text(1)).map_or("", |found| found.as_str()).into(),
        "regexFindAll" => {
            let (regex, count) = (regex(name, &text(0))?, limit(&value(2)));
            regex.find_iter(&text(1)).take(count).map(|found| found.as_str().to_owned()).collect::<Vec<_>>().into()
        }
        "regexReplaceAll" => regex(name, &text(0))?.replace_all(&text(1), text(2).as_str()).into(),
        "regexReplaceAllLiteral" => regex(name, &text(0))?.replace_all(&text(1), regex::NoExpand(&text(2))).into(),
        "regexSplit" => regex(name, &text(0))?.splitn(&text(1), limit(&value(2))).map(str::to_owned).collect::<Vec<_>>().into(),
        "base" => paths::base(&text(0)).into(),
        "dir" => paths::dir(&text(0)).into(),
        "clean" => paths::clean(&text(0)).into(),
        "ext" => paths::ext(&text(0)).into(),
        "isAbs" => text(0).starts_with('/').into(),
        "printf" => format(&text(0), &arguments[1..]).into(),
        "toString" => text(0).into(),
        "quote" => arguments
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| Value::from(plain(value)).to_string())
            .collect::<Vec<_>>()
            .join(" ")
            .into(),
        "squote" => arguments
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| format!("'{}'", plain(value)))
            .collect::<Vec<_>>()
            .join(" ")
            .into(),
        "upper" => text(0).to_uppercase().into(),
        "lower" => text(0).to_lowercase().into(),
        "title" => title(&text(0)).into(),
        "trim" => text(0).trim().into(),
        "trimAll" => last().trim_matches(|c| text(0).contains(c)).into(),
        "trimPrefix" => last().strip_prefix(&text(0)).map_or_else(last, str::to_owned).into(),
        "trimSuffix" => last().strip_suffix(&text(0)).map_or_else(last, str::to_owned).into(),
        "replace" => last().replace(&text(0), &text(1)).into(),
        "contains" => last().contains(&text(0)).into(),
        "hasPrefix" => last().starts_with(&text(0)).into(),
        "hasSuffix" => last().ends_with(&text(0)).into(),
        "repeat" => last().repeat(usize::try_from(whole(&value(0))).unwrap_or(0).min(10_000)).into(),
        "trunc" => cut(&last(), whole(&value(0))).into(),
        "substr" => {
            let (from, to) = (usize::try_from(whole(&value(0))).unwrap_or(0), usize::try_from(whole(&value(1))).unwrap_or(usize::MAX));
            last().chars().take(to).skip(from).collect::<String>().into()
        }
        "nospace" => text(0).split_whitespace().collect::<String>().into(),
        "indent" | "nindent" => {
            let pad = " ".repeat(usize::try_from(whole(&value(0))).unwrap_or(0).min(200));
            let body = last().split('\n').map(|line| format!("{pad}{line}")).collect::<Vec<_>>().join("\n");
            (if name == "nindent" { format!("\n{body}") } else { body }).into()
        }
        "b64enc" => STANDARD.encode(text(0)).into(),
        "b64dec" => STANDARD
            .decode(text(0))
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| wrong(name, "is given no base64"))?
            .into(),
        "normalize" => normalized(&text(0)).into(),
        // With the greatest length, and whether whole words are left, before it (argo-cd `SlugifyName`).
        "slugify" => {
            let most = if count > 1 { usize::try_from(whole(&value(0))).unwrap_or(0) } else { 50 };
            slug(&text(count - 1), most, count < 3 || is_true(&value(1)))?.into()
        }
        // Lists and maps.
        "list" => Value::Array(arguments.to_vec()),
        "first" => value(0).as_array().and_then(|items| items.first().cloned()).unwrap_or_default(),
        "last" => value(0).as_array().and_then(|items| items.last().cloned()).unwrap_or_default(),
        "rest" => Value::Array(items(&value(0)).into_iter().skip(1).collect()),
        "initial" => {
            let all = items(&value(0));
            Value::Array(all[..all.len().saturating_sub(1)].to_vec())
        }
        "append" => {
            let mut all = items(&value(0));
            all.push(value(1));
            Value::Array(all)
        }
        "prepend" => [vec![value(1)], items(&value(0))].concat().into(),
        "reverse" => items(&value(0)).into_iter().rev().collect::<Vec<_>>().into(),
        "without" => items(&value(0)).into_iter().filter(|item| !arguments[1..].contains(item)).collect::<Vec<_>>().into(),
        "compact" => items(&value(0)).into_iter().filter(is_true).collect::<Vec<_>>().into(),
        "slice" => {
            let all = items(&value(0));
            let at = |place: usize, other: usize| arguments.get(place).map_or(Some(other), |at| usize::try_from(whole(at)).ok());
            let found = at(1, 0).zip(at(2, all.len())).and_then(|(from, to)| all.get(from..to));
            found.ok_or_else(|| wrong(name, "is out of range"))?.to_vec().into()
        }
        "chunk" => {
            let size = usize::try_from(whole(&value(0))).ok().filter(|size| *size > 0).ok_or_else(|| wrong(name, "needs a size"))?;
            items(&value(1)).chunks(size).map(|part| Value::from(part.to_vec())).collect::<Vec<_>>().into()
        }
        "until" => steps(0, whole(&value(0)), whole(&value(0)).signum()).into(),
        "untilStep" => steps(whole(&value(0)), whole(&value(1)), whole(&value(2))).into(),
        "seq" => sequence(&arguments.iter().map(whole).collect::<Vec<_>>()).into(),
        "any" => arguments.iter().any(is_true).into(),
        "all" => arguments.iter().all(is_true).into(),
        "concat" => Value::Array(arguments.iter().flat_map(items).collect()),
        "uniq" => {
            let mut found: Vec<Value> = Vec::new();
            for item in items(&value(0)) {
                if !found.contains(&item) {
                    found.push(item);
                }
            }
            Value::Array(found)
        }
        "has" => items(&value(1)).contains(&value(0)).into(),
        "join" => items(&value(count - 1)).iter().map(plain).collect::<Vec<_>>().join(&text(0)).into(),
        "splitList" => Value::Array(last().split(text(0).as_str()).map(Value::from).collect()),
        "split" => Value::Object(last().split(text(0).as_str()).enumerate().map(|(at, part)| (format!("_{at}"), part.into())).collect()),
        "splitn" => {
            let most = limit(&value(1));
            Value::Object(last().splitn(most, text(0).as_str()).enumerate().map(|(at, part)| (format!("_{at}"), part.into())).collect())
        }
        "sortAlpha" => {
            let mut all: Vec<String> = items(&value(0)).iter().map(plain).collect();
            all.sort();
            all.into()
        }
        "len" => match &arguments[0] {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            _ => return Err(wrong(name, "is given neither text, list nor map")),
        }
        .into(),
        "index" => index(arguments)?,
        "dict" => Value::Object(arguments.chunks(2).map(|pair| (plain(&pair[0]), pair.get(1).cloned().unwrap_or_default())).collect()),
        "get" => value(0).get(text(1)).cloned().unwrap_or_else(|| "".into()),
        "hasKey" => value(0).get(text(1)).is_some().into(),
        // What holds the map is changed where it was taken from.
        "set" | "unset" => {
            let Value::Object(mut map) = value(0) else { return Err(wrong(name, "is given no map")) };
            if name == "set" {
                map.insert(text(1), value(2));
            } else {
                map.remove(&text(1));
            }
            Value::Object(map)
        }
        "pluck" => arguments[1..].iter().filter_map(|map| map.get(text(0))).cloned().collect::<Vec<_>>().into(),
        "deepEqual" => (value(0) == value(1)).into(),
        "kindOf" => kind(&value(0)).into(),
        "keys" => {
            let mut all: Vec<String> = arguments.iter().filter_map(Value::as_object).flat_map(Map::keys).cloned().collect();
            all.sort();
            all.into()
        }
        "values" => value(0).as_object().map(|map| Value::Array(map.values().cloned().collect())).unwrap_or_default(),
        "pick" => value(0)
            .as_object()
            .map(|map| {
                map.iter()
                    .filter(|(key, _)| arguments[1..].iter().any(|wanted| plain(wanted) == **key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect::<Map<_, _>>()
                    .into()
            })
            .unwrap_or_default(),
        "omit" => value(0)
            .as_object()
            .map(|map| {
                map.iter()
                    .filter(|(key, _)| !arguments[1..].iter().any(|other| plain(other) == **key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect::<Map<_, _>>()
                    .into()
            })
            .unwrap_or_default(),
        "dig" => {
            let keys = &arguments[..count - 2];
            keys.iter().try_fold(value(count - 1), |at, key| at.get(plain(key)).cloned()).unwrap_or_else(|| value(count - 2))
        }
        "toJson" => as_written(value(0)).to_string().into(),
        "toPrettyJson" => serde_json::to_string_pretty(&as_written(value(0))).unwrap_or_default().into(),
        "fromJson" => serde_json::from_str(&text(0)).unwrap_or_default(),
        "toYaml" => crate::manifest::write(&as_written(value(0))).trim_end().into(),
        "fromYaml" | "fromYamlArray" => documents(&text(0))
            .map_err(|error| wrong(name, &error.message))?
            .into_iter()
            .next()
            .map(|document| document.value)
            .unwrap_or_default(),
        "kindIs" => (text(0) == kind(&value(1))).into(),
        // Numbers.
        "int" | "int64" => whole(&value(0)).into(),
        "atoi" => text(0).parse::<i64>().unwrap_or(0).into(),
        "add" => arguments.iter().map(whole).fold(0_i64, i64::wrapping_add).into(),
        "add1" => whole(&value(0)).wrapping_add(1).into(),
        "sub" => whole(&value(0)).wrapping_sub(whole(&value(1))).into(),
        "mul" => arguments.iter().map(whole).fold(1_i64, i64::wrapping_mul).into(),
        "div" => whole(&value(0)).checked_div(whole(&value(1))).ok_or_else(|| wrong(name, "divides by 0"))?.into(),
        "mod" => whole(&value(0)).checked_rem(whole(&value(1))).ok_or_else(|| wrong(name, "divides by 0"))?.into(),
        "max" => arguments.iter().map(whole).max().unwrap_or_default().into(),
        "min" => arguments.iter().map(whole).min().unwrap_or_default().into(),
        "float64" => real(&value(0)).into(),
        "maxf" => arguments.iter().map(real).fold(f64::NEG_INFINITY, f64::max).into(),
        "minf" => arguments.iter().map(real).fold(f64::INFINITY, f64::min).into(),
        "ceil" => real(&value(0)).ceil().into(),
        "floor" => real(&value(0)).floor().into(),
        "round" => {
            let factor = 10_f64.powi(i32::try_from(whole(&value(1))).unwrap_or_default());
            ((real(&value(0)) * factor).round() / factor).into()
        }
        _ => return Err(Fault::Function(name.to_owned())),
    })
}

/// Fewest arguments of each function that is known.
fn least(name: &str) -> Option<usize> {
    Some(match name {
        "and" | "or" | "coalesce" | "print" | "list" | "dict" | "concat" | "quote" | "squote" | "add" | "mul" | "keys" | "println"
        | "cat" | "any" | "all" | "seq" => 0,
        "not" | "empty" | "fail" | "printf" | "toString" | "upper" | "lower" | "title" | "trim" | "nospace" | "b64enc" | "b64dec"
        | "normalize" | "slugify" | "first" | "last" | "rest" | "initial" | "uniq" | "sortAlpha" | "len" | "values" | "toJson"
        | "toPrettyJson" | "fromJson" | "toYaml" | "fromYaml" | "fromYamlArray" | "int" | "int64" | "atoi" | "add1" | "max" | "min"
        | "index" | "default" | "pick" | "omit" | "toStrings" | "sha256sum" | "adler32sum" | "regexQuoteMeta" | "base" | "dir"
        | "clean" | "ext" | "isAbs" | "reverse" | "without" | "compact" | "slice" | "until" | "pluck" | "kindOf" | "float64" | "maxf"
        | "minf" | "ceil" | "floor" => 1,
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "trimAll" | "trimPrefix" | "trimSuffix" | "contains" | "hasPrefix" | "hasSuffix"
        | "repeat" | "trunc" | "indent" | "nindent" | "append" | "has" | "join" | "splitList" | "split" | "get" | "hasKey" | "kindIs"
        | "sub" | "div" | "mod" | "regexMatch" | "regexFind" | "prepend" | "chunk" | "unset" | "deepEqual" | "round" => 2,
        "ternary"
        | "replace"
        | "substr"
        | "dig"
        | "plural"
        | "regexFindAll"
        | "regexReplaceAll"
        | "regexReplaceAllLiteral"
        | "regexSplit"
        | "splitn"
        | "untilStep"
        | "set" => 3,
        _ => return None,
    })
}

fn wrong(name: &str, why: &str) -> Fault {
    Fault::Wrong(format!("{name} {why}"))
}

/// The text of a value; nothing is the empty one.
fn plain(value: &Value) -> String {
    if value.is_null() { String::new() } else { printed(value) }
}

/// Whole numbers without a fraction, as Go writes a float64 that is one.
fn as_written(value: Value) -> Value {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and i64 holds it")]
        Value::Number(number) => match number.as_f64().filter(|found| number.is_f64() && found.fract() == 0.0 && found.abs() < 1e15) {
            Some(whole) => (whole as i64).into(),
            None => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(as_written).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, as_written(value))).collect(),
        other => other,
    }
}

fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn whole(value: &Value) -> i64 {
    match value {
        // As Go casts: the fraction is cut.
        #[expect(clippy::cast_possible_truncation, reason = "so does Sprig")]
        Value::Number(number) => number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64),
        Value::String(text) => text.trim().parse().unwrap_or_default(),
        Value::Bool(on) => i64::from(*on),
        _ => 0,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other) == Ordering::Equal,
        _ => one == other,
    }
}

fn compare(name: &str, arguments: &[Value]) -> Result<Ordering, Fault> {
    match (&arguments[0], &arguments[1]) {
        (Value::String(one), Value::String(other)) => Ok(one.cmp(other)),
        (one, other) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => Ok(one.total_cmp(&other)),
            _ => Err(wrong(name, "compares what has no order")),
        },
    }
}

fn index(arguments: &[Value]) -> Result<Value, Fault> {
    let mut at = arguments[0].clone();
    for key in &arguments[1..] {
        at = match &at {
            Value::Array(items) => {
                let number = whole(key);
                let found = usize::try_from(number).ok().and_then(|number| items.get(number));
                found.cloned().ok_or_else(|| Fault::Wrong(format!("index {number} is out of range")))?
            }
            Value::Object(map) => map.get(&plain(key)).cloned().unwrap_or_default(),
            _ => return Err(Fault::Wrong(format!("index {}: of neither list nor map", plain(key)))),
        };
    }
    Ok(at)
}

/// The verbs that texts are built with, with `-`, `0`, width and precision (Go's fmt).
fn format(pattern: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut take = |wanted: fn(&char) -> bool| -> String { std::iter::from_fn(|| chars.next_if(wanted)).collect() };
        let flags = take(|c| "-+# 0".contains(*c));
        let width: usize = take(char::is_ascii_digit).parse().unwrap_or(0).min(1000);
        let dot = take(|c| *c == '.');
        let precision = (!dot.is_empty()).then(|| take(char::is_ascii_digit).parse::<usize>().unwrap_or(0).min(100));
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = arguments.next() else {
            out.extend("%!".chars().chain([verb]).chain("(MISSING)".chars()));
            continue;
        };
        let text = verbal(verb, precision, value);
        let missing = width.saturating_sub(text.chars().count());
        if flags.contains('-') {
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if let (true, Some(digits)) = (flags.contains('0') && value.is_number(), text.strip_prefix('-')) {
            out.extend(std::iter::once('-').chain(std::iter::repeat_n('0', missing)));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(if flags.contains('0') { '0' } else { ' ' }, missing));
            out.push_str(&text);
        }
    }
    out
}

/// One value by its verb; a verb that is not for it tells so in the text, as Go does.
fn verbal(verb: char, precision: Option<usize>, value: &Value) -> String {
    let wrong = || {
        let kind = if value.is_i64() || value.is_u64() { "int" } else { kind(value) };
        format!("%!{verb}({kind}={})", printed(value))
    };
    let cut = |text: String| precision.map_or_else(|| text.clone(), |most| text.chars().take(most).collect());
    match (verb, value) {
        ('v', _) => printed(value),
        ('s', Value::Number(_) | Value::Bool(_)) => wrong(),
        ('s', _) => cut(printed(value)),
        ('q', Value::String(text)) => Value::from(text.as_str()).to_string(),
        ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
        ('x', Value::Number(number)) if !number.is_f64() => format!("{:x}", number.as_i64().unwrap_or_default()),
        ('t', Value::Bool(on)) => on.to_string(),
        ('f', Value::Number(number)) if number.is_f64() => {
            format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or_default())
        }
        _ => wrong(),
    }
}

fn title(text: &str) -> String {
    let mut is_start = true;
    text.chars()
        .flat_map(|c| {
            let changed: Vec<char> = if is_start { c.to_uppercase().collect() } else { vec![c] };
            is_start = c.is_whitespace();
            changed
        })
        .collect()
}

/// The first characters, or the last ones for a negative count.
fn cut(text: &str, count: i64) -> String {
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let length = text.chars().count();
    if count < 0 { text.chars().skip(length.saturating_sub(size)).collect() } else { text.chars().take(size).collect() }
}

/// A name that Kubernetes takes (argo-cd `SanitizeName`): lower case, `-` for what is not allowed, 253 characters.
pub(in crate::layers) fn normalized(text: &str) -> String {
    let plain: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.' { c } else { '-' })
        .collect();
    let cut: String = plain.chars().take(253).collect();
    cut.trim_matches(['-', '.']).to_owned()
}

/// Go puts a space between two of which none is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&printed(value));
    }
    out
}

/// Go's expressions are those of this crate, but for what nobody writes into a template.
fn regex(name: &str, pattern: &str) -> Result<Regex, Fault> {
    Regex::new(pattern).map_err(|_| wrong(name, &format!("is given no expression: {pattern}")))
}

/// How many at most; a negative count is all.
fn limit(count: &Value) -> usize {
    usize::try_from(whole(count)).unwrap_or(usize::MAX)
}

fn real(value: &Value) -> f64 {
    value.as_f64().or_else(|| plain(value).trim().parse().ok()).unwrap_or_default()
}

/// Numbers up to the end, which is not among them; more than these come from no template that anyone wrote.
fn steps(from: i64, to: i64, step: i64) -> Vec<i64> {
    let within = |at: &i64| if step > 0 { *at < to } else { step < 0 && *at > to };
    std::iter::successors(Some(from), |at| at.checked_add(step)).take_while(within).take(10_000).collect()
}

/// As `seq` of a shell: the end is among them, and one number counts from 1.
fn sequence(numbers: &[i64]) -> String {
    let (from, step, to) = match *numbers {
        [to] => (1, None, to),
        [from, to] => (from, None, to),
        [from, step, to] => (from, Some(step), to),
        _ => return String::new(),
    };
    let step = step.unwrap_or(if to < from { -1 } else { 1 });
    steps(from, to.saturating_add(step.signum()), step).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The checksum of RFC 1950, section 9.
pub(in crate::layers) fn adler32(text: &str) -> u32 {
    const PRIME: u32 = 65_521;
    let (low, high) = text.bytes().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(byte)) % PRIME;
        (low, (high + low) % PRIME)
    });
    high << 16 | low
}
