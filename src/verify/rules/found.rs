//! What is found without a check of this room's own: by reading, by planning, and by what accepts findings. As data, for the docs.

use super::Rule;
use crate::problem::Severity;
use crate::problem::Severity::{Blocks, Risk};
use crate::verify::Finding;
use crate::verify::facts::Facts;
use crate::verify::simulate::Outcome;

const fn rule(id: &'static str, severity: Severity, title: &'static str, why: &'static str, fix: &'static str) -> Rule {
    Rule { id, severity, title, why, fix, check: None }
}

pub(in crate::verify) const ACCEPT_INVALID: Rule = rule(
    "accept-invalid",
    Severity::Risk,
    "Something is accepted that cannot be",
    "The rule is not known, has no reason, or is one that a run refuses as well.",
    "name a rule of this page and a reason",
);

pub(in crate::verify) const ACCEPT_UNUSED: Rule = rule(
    "accept-unused",
    Severity::Risk,
    "Something is accepted that is not found",
    "What was accepted is gone or has moved; the entry would hide the next one of its kind.",
    "take the entry out, or correct what it names",
);

const NEVER_STARTS: Rule = rule(
    "never-starts",
    Severity::Blocks,
    "A layer never starts",
    "In the simulated start nothing moves any more before the layer is applied, and no other finding says what holds it back.",
    "look at what it waits for: blackstart explain LAYER",
);

/// What is not on this machine: the start itself may have it.
pub(in crate::verify) const IS_ABSENT: [&str; 2] = ["source-not-at-hand", "program-missing"];

/// Layers that never start although nothing that is found keeps them from it.
pub(in crate::verify) fn never_starts(facts: &Facts<'_>, outcome: &Outcome) -> Vec<Finding> {
    let finding = |&(layer, after): &(usize, Option<usize>)| {
        let layer = facts.layer(layer);
        let why = after.map_or_else(String::new, |after| format!(": it waits for layer {}", facts.layer(after).id));
        Finding::new(&NEVER_STARTS, format!("layer {}: never starts{why}", layer.id)).of(layer)
    };
    outcome.unexplained.iter().map(finding).collect()
}

pub(super) const FOUND: [Rule; 43] = [
    ACCEPT_INVALID,
    ACCEPT_UNUSED,
    NEVER_STARTS,
    rule(
        "cycle",
        Blocks,
        "Layers wait for each other",
        "None of them can ever start. The shortest way round is told, with the place of each step.",
        "remove one of the steps",
    ),
    rule(
        "dependency-missing",
        Blocks,
        "A layer depends on one that nothing declares",
        "It waits for ever. The dependency may be called otherwise, stand in another namespace, or belong to another cluster.",
        "correct the name, or drop the dependency",
    ),
    rule(
        "dependency-suspended",
        Blocks,
        "A layer depends on a suspended one",
        "A suspended layer is never applied and so never ready.",
        "resume it, or drop the dependency",
    ),
    rule(
        "order-risk",
        Risk,
        "A layer needs what comes after it",
        "The order that the objects need is against the one that is declared. Flux tries again until it works, which it may never do.",
        "move it to a layer that both depend on",
    ),
    rule("layer-twice", Risk, "A layer is declared twice", "The one that is applied last wins.", "leave it in one of them"),
    rule(
        "kustomization-invalid",
        Blocks,
        "A Kustomization cannot be read",
        "A field has another type than Flux expects.",
        "correct the field",
    ),
    rule(
        "expression-invalid",
        Blocks,
        "A CEL expression cannot be parsed",
        "The layer could never become ready.",
        "correct the expression",
    ),
    rule(
        "expression-false",
        Blocks,
        "A readyExpr is false even when its dependency is ready",
        "The layer could never start.",
        "correct the expression, or what it compares",
    ),
    rule("source-missing", Blocks, "Nothing declares a source", "The layer has no files.", "declare it, or correct the reference"),
    rule(
        "source-not-at-hand",
        Blocks,
        "The files of a source are not on this machine",
        "What a layer holds cannot be told without them.",
        "clone the repository and give --source MATCH=PATH",
    ),
    rule(
        "source-invalid",
        Blocks,
        "A source cannot be put together",
        "Its definition names files or sources that are not there.",
        "correct the definition",
    ),
    rule("path-missing", Blocks, "A path is no folder of its source", "The layer has no files.", "correct spec.path"),
    rule(
        "render-failed",
        Blocks,
        "A layer cannot be rendered",
        "kustomize refuses it, and so will Flux.",
        "see it alone: kustomize build FOLDER",
    ),
    rule("program-missing", Blocks, "A program is not on this machine", "Rendering needs it.", "blackstart sandbox install"),
    rule("yaml-invalid", Blocks, "A file is not valid YAML", "Flux refuses the whole layer.", "correct the file"),
    rule(
        "decryption-failed",
        Blocks,
        "An object cannot be decrypted with the keys of the environment",
        "It was encrypted for other keys: a new cluster with the same keys cannot read it either.",
        "give the key that it was encrypted for, or encrypt it again",
    ),
    rule(
        "substitution-invalid",
        Blocks,
        "Variables cannot be replaced",
        "The expression, or the document that comes out, cannot be read.",
        "write $${…} where no variable is meant",
    ),
    rule(
        "variable-undefined",
        Blocks,
        "A variable has no value",
        "Flux refuses the layer (strict substitution).",
        "define it, or give it a default: ${NAME:=…}",
    ),
    rule(
        "variables-missing",
        Blocks,
        "Nothing brings the object that variables come from",
        "Neither Git nor the environment declares the ConfigMap or Secret of substituteFrom.",
        "add it to spec.variables of the environment",
    ),
    rule(
        "output-misplaced",
        Blocks,
        "A value that is known only later stands where it is needed before",
        "Nothing could be ordered or found by it.",
        "take it out of names and of what a layer is read by",
    ),
    rule(
        "application-invalid",
        Blocks,
        "An Application cannot be read",
        "Argo CD would refuse it, and nothing of it would be there.",
        "correct the field that is named",
    ),
    rule(
        "applicationset-invalid",
        Blocks,
        "An ApplicationSet cannot be filled",
        "Its generators or its template are wrong, so that it gives no Applications.",
        "correct the generator or the template that is named",
    ),
    rule(
        "resourceset-invalid",
        Blocks,
        "A ResourceSet cannot be filled",
        "Its inputs or its templates are wrong, so that it gives no objects.",
        "correct the input or the template that is named",
    ),
    rule("output-field", Blocks, "A resource does not give such an output", "The variable would never get a value.", "correct the field"),
    rule("node-missing", Blocks, "An output or `after` names nothing", "What it waits for does not exist.", "correct the name"),
    rule(
        "environment-invalid",
        Blocks,
        "The environment cannot be read",
        "A field is unknown, missing or of another type.",
        "correct the field",
    ),
    rule("environment-missing", Blocks, "There is no such environment", "Neither a file nor a name in environments/.", "correct the name"),
    rule(
        "region-unknown",
        Blocks,
        "The environment does not name this region",
        "Only its own region, and those of spec.aws.regions, may be touched.",
        "say in spec.aws.regions what is other there",
    ),
    rule(
        "environment-ambiguous",
        Blocks,
        "There are several environments",
        "Which one is meant must be said.",
        "choose one: --environment NAME",
    ),
    rule(
        "revision-unsigned",
        Blocks,
        "A commit is not signed by an allowed author",
        "spec.git.verify (or --allowed-signers) says whose signatures count: whoever can push is not yet allowed to start an environment.",
        "let an allowed author sign it, or take a revision that is signed",
    ),
    rule(
        "secret-unavailable",
        Blocks,
        "A value of a secret cannot be had",
        "The environment names a place that does not give it.",
        "look at the place by hand",
    ),
    rule(
        "cloud-kind-unknown",
        Blocks,
        "blackstart does not make this kind of cloud resource",
        "It would be left out of the infrastructure.",
        "leave it to its controller in a layer",
    ),
    rule(
        "cloud-field-unknown",
        Blocks,
        "A field of a cloud resource is not honoured",
        "The resource would be made other than declared.",
        "leave it to its controller, or leave the field out",
    ),
    rule(
        "cloud-field",
        Blocks,
        "A field of a cloud resource is missing, or excludes another",
        "AWS or ACK would refuse it.",
        "correct the field",
    ),
    rule(
        "cloud-reference",
        Blocks,
        "A cloud resource refers to one that is not declared",
        "It could not be made.",
        "declare what it refers to, or correct the name",
    ),
    rule(
        "cloud-stray",
        Risk,
        "An object of an infrastructure folder is no cloud resource, and in no layer",
        "Nobody makes it.",
        "put what lives in a cluster into a layer",
    ),
    rule(
        "cloud-account",
        Blocks,
        "There are cloud resources, but no account",
        "spec.aws says which account and region may be touched.",
        "add spec.aws to the environment",
    ),
    rule(
        "cloud-region",
        Blocks,
        "A cloud resource is for another region",
        "Only the region of spec.aws may be touched.",
        "correct the region",
    ),
    rule(
        "cloud-abroad",
        Blocks,
        "A cloud resource is for another account or region",
        "Only the account and region of spec.aws may be touched.",
        "leave it to its controller",
    ),
    rule("cloud-twice", Blocks, "A cloud resource is declared twice", "With different contents.", "keep one of them"),
];
