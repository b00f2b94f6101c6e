//! What may be made only once: a create call that is sent again with the same client token gets the first answer, and makes nothing;
//! a load balancer has one listener a port, which moto does not see to.

use super::call::{Answer, Asked};
use super::fresh::without;
use super::lock;
use super::moto::{Moto, texts};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// Service, operation, token.
pub(super) type Token = (String, String, String);

/// The first answer to a token, once it is there. Who holds it is the only one that makes something for it.
#[derive(Debug)]
pub(super) struct First {
    answer: OwnedMutexGuard<Option<Answer>>,
    /// Whether whoever comes later gets it too.
    is_kept: bool,
}

impl First {
    /// What was answered before.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// Answers.
    pub(super) fn keep(&mut self, answer: &Answer) {
        *self.answer = self.is_kept.then(|| answer.clone());
    }
}

/// The first answers.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    answers: Mutex<HashMap<Token, Arc<tokio::sync::Mutex<Option<Answer>>>>>,
}

/// The token of a call, where it makes something and has one.
fn token(asked: &Asked) -> Option<Token> {
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
    /// Waits until no other call with this one's token is on its way; none where the call has none.
    pub(super) async fn first(&self, asked: &Asked) -> Option<First> {
        let token = token(asked);
        let is_kept = token.is_some();
        let named = |(balancer, port)| (asked.service.clone(), asked.operation.clone(), format!("{balancer} {port}"));
        let answers = lock(&self.answers).entry(token.or_else(|| listener(asked).map(named))?).or_default().clone();
        Some(First { answer: answers.lock_owned().await, is_kept })
    }
}

/// Load balancer and port of a listener that is to be made.
fn listener(asked: &Asked) -> Option<(String, String)> {
    let makes = asked.service == "elasticloadbalancing" && asked.operation == "CreateListener";
    makes.then(|| Some((asked.form("LoadBalancerArn")?, asked.form("Port")?))).flatten()
}

/// The refusal of a second listener on a port.
pub(super) async fn refusal(asked: &Asked, moto: &Moto) -> Option<Answer> {
    let (balancer, port) = listener(asked)?;
    // A load balancer that is not there is moto's to refuse.
    let found = moto.ask(asked.scope(), &asked.service, "DescribeListeners", &[("LoadBalancerArn", &balancer)]).await.ok()?;
    // An action that redirects tells a port too.
    let found = without(&found, "DefaultActions", |_| true);
    let words = format!("A listener already exists on this port for this load balancer '{balancer}'");
    texts(&found, "Port").contains(&port.as_str()).then(|| Answer::refused(&asked.service, 400, "DuplicateListener", &words))
}
