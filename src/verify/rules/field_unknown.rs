//! A field of the agent's own objects that it does not have.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::{Severity, nearest};
use crate::verify::facts::Facts;
use crate::verify::simulate::Until;
use serde_json::Value;

pub(crate) const RULE: Rule = Rule {
    id: "field-unknown",
    severity: Severity::Blocks,
    title: "The agent does not have a field",
    why: "The API server refuses an object with a field that its definition does not have (`field not declared in schema`), and with it the \
          dry run of the whole layer. Where an older definition still runs, the field is dropped silently instead.",
    fix: "correct or remove the field",
    check: Some(check),
};

/// `spec` of Flux' kinds: kustomize-controller 1.9, helm-controller 1.6 and source-controller 1.9, `api`.
const FIELDS: [(&str, &str, &[&str]); 5] = [
    (
        "kustomize.toolkit.fluxcd.io/v1",
        "Kustomization",
        &[
            "buildMetadata",
            "commonMetadata",
            "components",
            "decryption",
            "deletionPolicy",
            "dependsOn",
            "force",
            "healthCheckExprs",
            "healthChecks",
            "ignore",
            "ignoreMissingComponents",
            "images",
            "interval",
            "kubeConfig",
            "namePrefix",
            "nameSuffix",
            "patches",
            "path",
            "postBuild",
            "prune",
            "retryInterval",
            "serviceAccountName",
            "sourceRef",
            "suspend",
            "targetNamespace",
            "timeout",
            "wait",
        ],
    ),
    (
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        &[
            "chart",
            "chartRef",
            "commonMetadata",
            "dependsOn",
            "driftDetection",
            "healthCheckExprs",
            "install",
            "interval",
            "kubeConfig",
            "maxHistory",
            "persistentClient",
            "postRenderStrategy",
            "postRenderers",
            "releaseName",
            "rollback",
            "serviceAccountName",
            "storageNamespace",
            "suspend",
            "targetNamespace",
            "test",
            "timeout",
            "uninstall",
            "upgrade",
            "values",
            "valuesFrom",
            "waitStrategy",
        ],
    ),
    (
        "source.toolkit.fluxcd.io/v1",
        "GitRepository",
        &[
            "ignore",
            "include",
            "interval",
            "provider",
            "proxySecretRef",
            "recurseSubmodules",
            "ref",
            "secretRef",
            "serviceAccountName",
            "sparseCheckout",
            "suspend",
            "timeout",
            "url",
            "verify",
        ],
    ),
    (
        "source.toolkit.fluxcd.io/v1",
        "OCIRepository",
        &[
            "certSecretRef",
            "ignore",
            "insecure",
            "interval",
            "layerSelector",
            "provider",
            "proxySecretRef",
            "ref",
            "secretRef",
            "serviceAccountName",
            "suspend",
            "timeout",
            "url",
            "verify",
        ],
    ),
    (
        "source.toolkit.fluxcd.io/v1",
        "HelmRepository",
        &[
            "accessFrom",
            "certSecretRef",
            "insecure",
            "interval",
            "passCredentials",
            "provider",
            "secretRef",
            "suspend",
            "timeout",
            "type",
            "url",
        ],
    ),
];

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, object) in facts.objects() {
        for (field, known) in unknown(object) {
            let message = format!("{}: spec.{field} is no field of {}", object.id(), object.api_version());
            let near = nearest(field, known.iter().copied());
            let hint = near.first().map_or_else(|| RULE.fix.to_owned(), |near| format!("did you mean spec.{near}?"));
            found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object).hint(hint).keeps(
                facts,
                [position],
                Until::Applied,
            ));
        }
    }
    found
}

fn unknown(object: &Resource) -> Vec<(&str, &'static [&'static str])> {
    let Some((.., known)) = FIELDS.iter().find(|(version, kind, _)| *version == object.api_version() && *kind == object.kind()) else {
        return Vec::new();
    };
    let fields = object.value.get("spec").and_then(Value::as_object).into_iter().flatten();
    fields.map(|(field, _)| field.as_str()).filter(|field| !known.contains(field)).map(|field| (field, *known)).collect()
}
