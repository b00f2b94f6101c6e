//! Client tokens: a create call that is sent again with the same token gets the first answer, and makes nothing.

use super::call::{Answer, Asked};
use super::lock;
use super::moto::texts;
use std::collections::HashMap;
use std::sync::Mutex;

/// Service, operation, token.
pub(super) type Token = (String, String, String);

/// The first answers.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    answers: Mutex<HashMap<Token, Answer>>,
}

/// The token of a call, where it makes something and has one.
pub(super) fn token(asked: &Asked) -> Option<Token> {
    let names = ["ClientToken", "ClientRequestToken", "CreatorRequestToken"];
    let of_form = || asked.forms().find(|(key, _)| names.contains(&key.as_str())).map(|(_, token)| token);
    let of_json = || {
        let body = asked.json();
        names.iter().find_map(|name| body[*name].as_str().map(str::to_owned))
    };
    let of_xml = || texts(std::str::from_utf8(&asked.body).ok()?, "CallerReference").first().map(|&token| token.to_owned());
    let makes = asked.writes() && !asked.operation.starts_with("Delete");
    let token = makes.then(|| of_form().or_else(of_json).or_else(of_xml)).flatten()?;
    Some((asked.service.clone(), asked.operation.clone(), token))
}

impl Tokens {
    /// The first answer to a token.
    pub(super) fn answer(&self, token: &Token) -> Option<Answer> {
        lock(&self.answers).get(token).cloned()
    }

    /// Keeps the first answer to a token.
    pub(super) fn keep(&self, token: Token, answer: &Answer) {
        lock(&self.answers).insert(token, answer.clone());
    }
}
