//! The checks of an environment: their variables.

use super::commands::{undefined, values};
use crate::environment::Environment;
use crate::environment::check::Check;
use crate::layers::outputs;
use crate::problem::Problem;
use crate::render::envsubst::substitute;
use std::collections::BTreeSet;

/// The checks with their variables replaced, as far as they are known, and all that is wrong with them.
pub(crate) fn read(environment: &Environment) -> (Vec<Check>, Vec<Problem>) {
    let values = values(environment);
    let of_secrets = environment.spec.outputs.iter().filter(|outputs| outputs.kind == "Secret");
    let secrets: BTreeSet<&str> = of_secrets.flat_map(|outputs| outputs.data.keys().map(String::as_str)).collect();
    let (mut checks, mut problems) = (environment.spec.checks.clone(), Vec::new());
    for check in &mut checks {
        let (what, origin) = (format!("check {}", check.name), check.origin.clone());
        let mut told = |rule: &'static str, message: String, hint: Option<String>| {
            let problem = Problem::blocks(rule, message).at(origin.clone());
            problems.push(hint.map_or(problem.clone(), |hint| problem.hint(hint)));
        };
        for text in check.texts() {
            match substitute(text, &values) {
                Ok(done) => {
                    for name in &done.undefined {
                        let (rule, message, hint) = undefined(name, &what, &values);
                        told(rule, message, hint);
                    }
                    for output in outputs::in_text(&done.text).iter().filter(|output| secrets.contains(output.variable.as_str())) {
                        let message = format!("{what}: {} is a secret, and reports show what a check asks", output.variable);
                        told("secret-shown", message, Some("give it as a header from its source: headers: {NAME: {from: …}}".to_owned()));
                    }
                    *text = done.text;
                }
                Err(error) => told("substitution-invalid", format!("{what}: {error}"), None),
            }
        }
    }
    (checks, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::check::Endpoint;
    use crate::environment::parse;

    #[test]
    fn variables_are_replaced_and_what_is_wrong_with_them_is_told() {
        let text = concat!(
            "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: x}\nspec:\n",
            "  variables: [{kind: ConfigMap, namespace: a, name: b, data: {DOMAIN: example.com}}]\n",
            "  outputs:\n    - {kind: ConfigMap, namespace: a, name: c, data: {HOST: {from: command/dns, field: host}}}\n",
            "    - {kind: Secret, namespace: a, name: d, data: {TOKEN: {from: command/dns, field: token}}}\n",
            "  checks:\n    - {name: a, tcp: 'db.${DOMAIN}:5432'}\n    - {name: b, http: {url: 'https://${HOST}/'}}\n",
            "    - {name: c, http: {url: 'https://a/?t=${TOKEN}', contains: '${DOMAN}'}}\n",
        );
        let (checks, problems) = read(&parse(text, "e.yaml").expect("valid"));
        assert_eq!(checks[0].endpoint, Endpoint::Tcp("db.example.com:5432".into()));
        let Endpoint::Http(http) = &checks[1].endpoint else { panic!("http") };
        assert_eq!(outputs::shown(&http.url), "https://${HOST}/");
        let told: Vec<(u32, &str)> =
            problems.iter().map(|problem| (problem.origin.as_ref().map_or(0, |origin| origin.line), problem.message.as_str())).collect();
        assert_eq!(
            told,
            [(12, "check c: TOKEN is a secret, and reports show what a check asks"), (12, "check c: variable DOMAN is not defined"),]
        );
    }
}
