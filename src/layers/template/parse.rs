//! Text to actions.

use serde_json::Value;

/// A part of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Output(Pipe),
    /// Conditions in order; one without a condition is `else`.
    If(Vec<(Option<Pipe>, Vec<Node>)>),
    /// Key and value variables, what it goes over, body, and what stands for an empty one.
    Range(Vec<String>, Pipe, Vec<Node>, Vec<Node>),
    With(Option<String>, Pipe, Vec<Node>, Vec<Node>),
    /// `$x := …`, or `$x = …` (false).
    Set(String, bool, Pipe),
    /// An action as it is written, for messages, and what it does.
    Action(String, Box<Node>),
}

/// Commands, each of which gets the result of the one before as its last argument.
pub(super) type Pipe = Vec<Vec<Argument>>;

/// A word of a command.
#[derive(Debug, PartialEq)]
pub(super) enum Argument {
    /// `.a.b`; `.` has no parts.
    Field(Vec<String>),
    /// `$x.a`.
    Variable(String, Vec<String>),
    Literal(Value),
    Function(String),
    /// `inputs.a`: a function of the templates of a ResourceSet, wherever the dot stands.
    Inputs(Vec<String>),
    /// `(…).a`.
    Group(Pipe, Vec<String>),
}

/// Nesting beyond this is no template but an attack on the stack.
const DEPTH: usize = 50;

/// What opens and closes an action.
pub(super) type Marks = (&'static str, &'static str);
pub(super) const BRACES: Marks = ("{{", "}}");
pub(super) const ANGLES: Marks = ("<<", ">>");

/// The nodes, or why there are none and the action that is to blame, where one is.
pub(super) fn parse(text: &str, marks: Marks) -> Result<Vec<Node>, (String, Option<String>)> {
    let mut parser = Parser { parts: parts(text, marks)?, at: 0, current: None };
    match parser.nodes(0) {
        Ok((nodes, None)) => Ok(nodes),
        Ok((_, Some(word))) => Err((format!("`{word}` ends nothing"), None)),
        Err(why) => Err((why, parser.current)),
    }
}

enum Part {
    Text(String),
    /// Its words, and how it is written.
    Action(Vec<Token>, String),
}

/// The first line of an action, for messages.
pub(super) fn shown(action: &str) -> String {
    action.lines().next().unwrap_or_default().chars().take(80).collect()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(Value),
    /// `.a.b`.
    Field(Vec<String>),
    /// `inputs.a.b`.
    Inputs(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    Open,
    /// With the fields that follow it: `(…).a`.
    Close(Vec<String>),
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Parts text from actions; `-` inside the marks trims what is beside them, comments are gone.
fn parts(text: &str, (open, close): Marks) -> Result<Vec<Part>, (String, Option<String>)> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut trims = false;
    while let Some(start) = rest.find(open) {
        let whole = &rest[start..];
        let wrong = |why: String| (why, Some(shown(whole)));
        let before = &rest[..start];
        let before = if trims { before.trim_start() } else { before };
        let mut inside = &rest[start + 2..];
        let trims_before = inside.strip_prefix('-').filter(|after| after.starts_with(char::is_whitespace));
        found.push(Part::Text(if trims_before.is_some() { before.trim_end() } else { before }.to_owned()));
        inside = trims_before.unwrap_or(inside);
        let comment = inside.trim_start().strip_prefix("/*");
        let (tokens, after) = match comment {
            Some(comment) => (None, comment.split_once("*/").ok_or_else(|| wrong("a comment has no end".to_owned()))?.1),
            None => tokens(inside, close).map(|(tokens, after)| (Some(tokens), after)).map_err(wrong)?,
        };
        let after = after.trim_start();
        let trimming = after.strip_prefix('-').and_then(|after| after.strip_prefix(close));
        trims = trimming.is_some();
        rest = trimming.or_else(|| after.strip_prefix(close)).ok_or_else(|| wrong(unclosed(close)))?;
        let written = shown(&whole[..whole.len() - rest.len()]);
        found.extend(tokens.map(|tokens| Part::Action(tokens, written)));
    }
    found.push(Part::Text(if trims { rest.trim_start() } else { rest }.to_owned()));
    Ok(found)
}

/// Words of an action, and what stands behind them.
fn tokens<'t>(text: &'t str, close: &str) -> Result<(Vec<Token>, &'t str), String> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let gap = rest.len();
        rest = rest.trim_start();
        let is_first = gap != rest.len() || found.is_empty();
        if rest.starts_with(close) || is_first && rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(close)) {
            return Ok((found, rest));
        }
        let Some(first) = rest.chars().next() else { return Err(unclosed(close)) };
        let mut take = |token: Token, length: usize| {
            found.push(token);
            length
        };
        let length = match first {
            '(' => take(Token::Open, 1),
            ')' => {
                let (fields, length) = fields(&rest[1..]);
                take(Token::Close(fields), 1 + length)
            }
            '|' => take(Token::Pipe, 1),
            ',' => take(Token::Comma, 1),
            ':' if rest.starts_with(":=") => take(Token::Declare, 2),
            '=' => take(Token::Assign, 1),
            '"' => {
                let length = quoted(rest)?;
                let value = serde_json::from_str(&rest[..length]).map_err(|_| format!("{} is no text", &rest[..length]))?;
                take(Token::Literal(value), length)
            }
            '`' => {
                let inside = rest[1..].split_once('`').ok_or("a ` has no partner")?.0;
                take(Token::Literal(inside.into()), inside.len() + 2)
            }
            '.' => {
                let (fields, length) = fields(rest);
                take(Token::Field(fields), length.max(1))
            }
            '$' => {
                let name = word(&rest[1..]);
                let (fields, length) = fields(&rest[1 + name.len()..]);
                take(Token::Variable(name.to_owned(), fields), 1 + name.len() + length)
            }
            first if first.is_ascii_digit() || first == '-' || first == '+' => {
                let end = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).map_or(rest.len(), |end| end + 1);
                take(Token::Literal(number(&rest[..end]).ok_or_else(|| format!("`{}` is no number", &rest[..end]))?), end)
            }
            first if first.is_alphabetic() || first == '_' => {
                let word = word(rest);
                // A function with fields behind it: the inputs of a ResourceSet.
                let (fields, length) = fields(&rest[word.len()..]);
                match (word, fields.is_empty()) {
                    ("inputs", _) => take(Token::Inputs(fields), word.len() + length),
                    (_, true) => take(Token::Word(word.to_owned()), word.len()),
                    _ => return Err(format!("{word} has no fields")),
                }
            }
            other => return Err(format!("`{other}` is not expected here")),
        };
        rest = &rest[length..];
    }
}

fn unclosed(close: &str) -> String {
    format!("an action has no `{close}`")
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())]
}

/// `.a.b` at the start of a text, and how long it is.
fn fields(text: &str) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    let mut length = 0;
    while let Some(rest) = text[length..].strip_prefix('.') {
        let name = word(rest);
        if name.is_empty() {
            break;
        }
        found.push(name.to_owned());
        length += 1 + name.len();
    }
    (found, length)
}

/// Length of a text in quotes.
fn quoted(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(at + 1),
            '\n' => break,
            _ => {}
        }
    }
    Err("a \" has no partner".to_owned())
}

fn number(text: &str) -> Option<Value> {
    text.trim_start_matches('+').parse::<i64>().map(Value::from).ok().or_else(|| text.parse::<f64>().ok().map(Value::from))
}

struct Parser {
    parts: Vec<Part>,
    at: usize,
    /// How the last action is written.
    current: Option<String>,
}

impl Parser {
    /// Nodes up to an `end`, an `else` (which is left to be read again) or the end of the text.
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Option<&'static str>), String> {
        if depth > DEPTH {
            return Err("is nested too deep".to_owned());
        }
        let mut nodes = Vec::new();
        while self.at < self.parts.len() {
            let (tokens, written) = match &self.parts[self.at] {
                Part::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(text.clone()));
                    }
                    self.at += 1;
                    continue;
                }
                Part::Action(tokens, written) => (tokens.clone(), written.clone()),
            };
            self.current = Some(written.clone());
            let head = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match head {
                "end" => return Ok((nodes, Some("end"))),
                "else" => return Ok((nodes, Some("else"))),
                _ => {}
            }
            self.at += 1;
            let node = match head {
                "if" => self.branches(&tokens[1..], depth)?,
                "range" | "with" => self.over(head, &tokens[1..], depth)?,
                // Whoever comes here is told that it is not known.
                "define" | "block" => {
                    self.over(head, &tokens[1..], depth)?;
                    Node::Output(vec![vec![Argument::Function(head.to_owned())]])
                }
                _ => action(&tokens)?,
            };
            nodes.push(Node::Action(written, Box::new(node)));
        }
        Ok((nodes, None))
    }

    /// Words of the `else` or `end` that the parser stands at, which is passed.
    fn closing(&mut self, of: &str, stop: Option<&str>) -> Result<Vec<Token>, String> {
        let Some(Part::Action(tokens, written)) = self.parts.get(self.at).filter(|_| stop.is_some()) else {
            self.current = None;
            return Err(format!("`{of}` has no end"));
        };
        let tokens = tokens.clone();
        self.current = Some(written.clone());
        self.at += 1;
        Ok(tokens)
    }

    fn branches(&mut self, condition: &[Token], depth: usize) -> Result<Node, String> {
        let mut branches = Vec::new();
        let mut condition = Some(pipe_of(condition)?);
        loop {
            let (body, stop) = self.nodes(depth + 1)?;
            let is_last = condition.is_none();
            branches.push((condition.take(), body));
            let tokens = self.closing("if", stop)?;
            match (tokens.get(1), stop) {
                (_, Some("end")) => return Ok(Node::If(branches)),
                (Some(Token::Word(word)), _) if word == "if" && !is_last => condition = Some(pipe_of(&tokens[2..])?),
                (None, _) if !is_last => {}
                _ => return Err("an `else` is in the wrong place".to_owned()),
            }
        }
    }

    fn over(&mut self, head: &str, tokens: &[Token], depth: usize) -> Result<Node, String> {
        let declared = tokens.iter().position(|token| *token == Token::Declare);
        let names: Vec<String> = tokens[..declared.unwrap_or(0)]
            .iter()
            .filter_map(|token| match token {
                Token::Variable(name, _) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let pipe = pipe_of(&tokens[declared.map_or(0, |at| at + 1)..])?;
        let (body, stop) = self.nodes(depth + 1)?;
        self.closing(head, stop)?;
        let mut otherwise = Vec::new();
        if stop == Some("else") {
            let (nodes, stop) = self.nodes(depth + 1)?;
            self.closing(head, stop)?;
            otherwise = nodes;
        }
        Ok(if head == "range" {
            Node::Range(names, pipe, body, otherwise)
        } else {
            Node::With(names.into_iter().next(), pipe, body, otherwise)
        })
    }
}

fn action(tokens: &[Token]) -> Result<Node, String> {
    match tokens {
        [Token::Variable(name, _), Token::Declare, rest @ ..] => Ok(Node::Set(name.clone(), true, pipe_of(rest)?)),
        [Token::Variable(name, _), Token::Assign, rest @ ..] => Ok(Node::Set(name.clone(), false, pipe_of(rest)?)),
        _ => pipe_of(tokens).map(Node::Output),
    }
}

fn pipe_of(tokens: &[Token]) -> Result<Pipe, String> {
    let mut at = 0;
    let found = pipe(tokens, &mut at, 0)?;
    if at < tokens.len() {
        return Err("a `)` has no partner".to_owned());
    }
    Ok(found)
}

/// A pipeline up to a `)` or the end.
fn pipe(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Pipe, String> {
    if depth > DEPTH {
        return Err("is nested too deep".to_owned());
    }
    let mut commands: Pipe = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        let argument = match token {
            Token::Close(_) => break,
            Token::Pipe => {
                commands.push(Vec::new());
                *at += 1;
                continue;
            }
            Token::Open => {
                *at += 1;
                let inner = pipe(tokens, at, depth + 1)?;
                let Some(Token::Close(fields)) = tokens.get(*at) else { return Err("a `(` has no partner".to_owned()) };
                Argument::Group(inner, fields.clone())
            }
            Token::Field(parts) => Argument::Field(parts.clone()),
            Token::Inputs(parts) => Argument::Inputs(parts.clone()),
            Token::Variable(name, parts) => Argument::Variable(name.clone(), parts.clone()),
            Token::Literal(value) => Argument::Literal(value.clone()),
            Token::Word(word) => match word.as_str() {
                "true" => Argument::Literal(true.into()),
                "false" => Argument::Literal(false.into()),
                "nil" => Argument::Literal(Value::Null),
                name => Argument::Function(name.to_owned()),
            },
            Token::Comma | Token::Declare | Token::Assign => return Err("`,`, `:=` or `=` is not expected here".to_owned()),
        };
        *at += 1;
        if let Some(command) = commands.last_mut() {
            command.push(argument);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err("a value is missing".to_owned());
    }
    Ok(commands)
}
