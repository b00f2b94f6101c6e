//! Cloud resources as ACK manifests declare them: which kinds and fields are honoured, what refers to what, how a living one is found
//! again, and what differs. Pure; the facts of each kind stand beside its calls, in `aws`.

mod compare;
mod identify;
mod open;
mod references;
pub mod rules;
mod status;
#[cfg(test)]
mod tests;

pub use compare::{Difference, differences};
pub use identify::{Candidate, Match, identify};
pub use open::{Filled, filled, known_output};
pub use references::{Needs, needs, resolve, unresolved};
pub use status::{gives, status};

use crate::manifest::{ObjectId, Resource};
use crate::problem::{Origin, Problem, nearest};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Suffix of the API groups of ACK.
const GROUP: &str = ".services.k8s.aws";
/// Tag with the name of the environment.
pub const TAG_ENVIRONMENT: &str = "blackstart:environment";
/// Tag with `namespace/name` of the manifest.
pub const TAG_RESOURCE: &str = "blackstart:resource";

/// What is known of a kind, as data.
#[derive(Debug)]
pub struct Schema {
    /// First part of the API group: `ec2` of `ec2.services.k8s.aws`.
    pub service: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// How a living one is found again.
    pub identity: Identity,
    /// The fields of `spec` that are honoured; any other is refused.
    pub fields: &'static [Field],
    /// Fields whose value another resource gives.
    pub references: &'static [Reference],
    /// Where its tags are.
    pub tags: Tags,
    /// ARN where it follows from the manifest: `arn:{partition}:iam::{account}:role{path|/}{name}`; `{field|default}` is a field of the spec.
    pub arn: Option<&'static str>,
    /// Usual seconds from the create call until it is usable.
    pub seconds: u32,
}

/// How a living resource is found again, without a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// AWS allows one of these values in an account and region (or in the resource that the other fields name).
    Name(&'static [&'static str]),
    /// No two useful ones have the same values here; a second one is an error that lists both.
    Key(&'static [&'static str]),
    /// Only tags: ours, else all that Git declares.
    Tags,
}

/// One honoured field of `spec`, with all that stands below it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Path with dots, such as `accessConfig.authenticationMode`.
    pub path: &'static str,
    /// What a difference means.
    pub change: Change,
    /// How two values are compared.
    pub shape: Shape,
}

/// What a difference between Git and what lives means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is changed in place.
    InPlace,
    /// Only a replacement would change it, which is never done silently.
    Never,
    /// It counts when the resource is made, and cannot be read or compared later.
    AtCreation,
}

/// How two values are compared. Of objects, only the declared keys count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As they are; numbers and booleans also as text.
    Plain,
    /// Lists without order.
    Set,
    /// A JSON document in a string (policies): equal as IAM sees it.
    Policy,
    /// A map of JSON documents.
    Policies,
    /// A list of which only the declared elements count.
    Within,
    /// Rules of a security group, compared one by one.
    Rules,
}

/// A field of this path.
pub const fn field(path: &'static str) -> Field {
    Field { path, change: Change::InPlace, shape: Shape::Plain }
}

impl Field {
    /// Cannot be changed in place.
    #[must_use]
    pub const fn fixed(self) -> Self {
        Self { change: Change::Never, ..self }
    }

    /// Is not compared later.
    #[must_use]
    pub const fn once(self) -> Self {
        Self { change: Change::AtCreation, ..self }
    }

    /// A list without order.
    #[must_use]
    pub const fn set(self) -> Self {
        Self { shape: Shape::Set, ..self }
    }

    /// A list of which only the declared elements count.
    #[must_use]
    pub const fn within(self) -> Self {
        Self { shape: Shape::Within, ..self }
    }

    /// Rules of a security group.
    #[must_use]
    pub const fn rules(self) -> Self {
        Self { shape: Shape::Rules, ..self }
    }

    /// A JSON document in a string.
    #[must_use]
    pub const fn policy(self) -> Self {
        Self { shape: Shape::Policy, ..self }
    }

    /// A map of JSON documents.
    #[must_use]
    pub const fn policies(self) -> Self {
        Self { shape: Shape::Policies, ..self }
    }
}

/// A field whose value another resource gives: by a `*Ref` twin, or, where the plain value can be known before, by that value.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// The plain field: `vpcID`, `subnetIDs[]`, `routes[].gatewayID`; `[]` goes through a list.
    pub path: &'static str,
    /// Its twin: `vpcRef`, `subnetRefs[]`, `routes[].gatewayRef`; the same as `path` where ACK has none.
    pub twin: &'static str,
    /// Service of what it names.
    pub service: &'static str,
    /// Kind of what it names.
    pub kind: &'static str,
    /// What of it: a field of its outputs (status fields as ACK names them, `arn`, or a field of its spec).
    pub output: &'static str,
    /// Made without it, and completed when it is known: resources that may name each other (security groups).
    pub late: bool,
}

/// A reference.
pub const fn refers(path: &'static str, twin: &'static str, service: &'static str, kind: &'static str, output: &'static str) -> Reference {
    Reference { path, twin, service, kind, output, late: false }
}

impl Reference {
    /// The resource is made without it, and completed when it is known.
    #[must_use]
    pub const fn late(self) -> Self {
        Self { late: true, ..self }
    }
}

/// Where a kind has its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// It has none.
    None,
    /// A list of `{key, value}` at this path.
    List(&'static str),
    /// A map at this path.
    Map(&'static str),
}

/// Facts of all kinds that are known.
pub type Catalogue = [&'static Schema];

/// One declared cloud resource.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Facts of its kind.
    pub schema: &'static Schema,
    /// The manifest.
    pub resource: Resource,
}

/// Which account and region an environment is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// Such as `eu-west-1`.
    pub region: String,
}

impl Place {
    /// The partition follows from the region.
    pub fn new(account: &str, region: &str) -> Self {
        let partition = match region {
            _ if region.starts_with("cn-") => "aws-cn",
            _ if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        Self { partition: partition.to_owned(), account: account.to_owned(), region: region.to_owned() }
    }
}

/// The service of an ACK manifest; none for anything else.
pub fn service(resource: &Resource) -> Option<&str> {
    let group = resource.value.get("apiVersion")?.as_str()?.split_once('/')?.0;
    group.strip_suffix(GROUP).filter(|service| *service != "services")
}

/// Id of an ACK manifest's node, whether or not its kind is known: `aws/<service>/<Kind>/<namespace>/<name>`; none for anything else.
pub fn node(resource: &Resource) -> Option<String> {
    node_of(&resource.id())
}

/// The same by what names the manifest.
pub fn node_of(id: &ObjectId) -> Option<String> {
    let service = id.group().strip_suffix(GROUP).filter(|service| *service != "services")?;
    Some(format!("aws/{service}/{}/{}/{}", id.kind, id.namespace.as_deref().unwrap_or("default"), id.name))
}

/// Facts of a manifest's kind.
pub fn schema(resource: &Resource, catalogue: &Catalogue) -> Option<&'static Schema> {
    let service = service(resource)?;
    catalogue.iter().copied().find(|schema| schema.service == service && schema.kind == resource.kind())
}

impl Schema {
    /// What the key and the value of a tag in a list are called.
    pub fn tag_words(&self) -> (&'static str, &'static str) {
        if self.service == "kms" { ("tagKey", "tagValue") } else { ("key", "value") }
    }
}

impl Declared {
    /// A manifest of a known kind, with all that is wrong with its fields. None where it is no manifest of ACK.
    pub fn read(resource: &Resource, catalogue: &Catalogue) -> Option<Result<Self, Vec<Problem>>> {
        let service = service(resource)?;
        let name = resource.id();
        let Some(schema) = schema(resource, catalogue) else {
            let known: Vec<&str> = catalogue.iter().filter(|schema| schema.service == service).map(|schema| schema.kind).collect();
            let mut problem =
                Problem::blocks("cloud-kind-unknown", format!("{name}: blackstart does not make {service} resources of this kind"))
                    .at(resource.origin.clone());
            problem = problem.hint(match known.as_slice() {
                [] => format!("no kind of {service} is known; leave it to its controller in a layer above the cluster"),
                known => format!("known kinds of {service}: {}", known.join(", ")),
            });
            return Some(Err(vec![problem]));
        };
        let declared = Self { schema, resource: resource.clone() };
        let problems = declared.problems();
        Some(if problems.is_empty() { Ok(declared) } else { Err(problems) })
    }

    /// Whether this is the id of its node.
    pub fn is(&self, node: &str) -> bool {
        self.node() == node
    }

    /// Whether it is the one of this kind and name.
    pub fn is_named(&self, service: &str, kind: &str, namespace: &str, name: &str) -> bool {
        self.schema.service == service
            && self.schema.kind == kind
            && self.resource.name() == name
            && self.resource.namespace().unwrap_or("default") == namespace
    }

    /// An error of it: the object first, with its place.
    pub fn error(&self, why: impl std::fmt::Display) -> String {
        let place = self.origin().map(|origin| format!(" ({origin})")).unwrap_or_default();
        format!("{}{place}: {why}", self.resource.id())
    }

    /// Id of its node: `aws/<service>/<Kind>/<namespace>/<name>`.
    pub fn node(&self) -> String {
        format!("aws/{}/{}/{}", self.schema.service, self.schema.kind, self.key())
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.resource.namespace().unwrap_or("default"), self.resource.name())
    }

    /// `spec`.
    pub fn spec(&self) -> &Value {
        self.resource.value.get("spec").unwrap_or(&Value::Null)
    }

    /// An annotation of ACK: `annotation("adoption-policy")`.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.resource.value.get("metadata")?.get("annotations")?.get(format!("services.k8s.aws/{name}"))?.as_str()
    }

    /// Where it stands.
    pub fn origin(&self) -> Option<Origin> {
        self.resource.origin.clone()
    }

    /// Its ARN where that follows from the manifest.
    pub fn arn(&self, place: &Place) -> Option<String> {
        fill(self.schema.arn?, self.spec(), place)
    }

    /// Declared tags.
    pub fn tags(&self) -> BTreeMap<String, String> {
        tags(self.spec(), self.schema.tags)
    }

    /// The tags that say whose it is.
    pub fn marks(&self, environment: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(TAG_ENVIRONMENT.to_owned(), environment.to_owned()), (TAG_RESOURCE.to_owned(), self.key())])
    }

    fn problems(&self) -> Vec<Problem> {
        let Some(spec) = self.spec().as_object() else {
            let message = format!("{}: spec is missing", self.resource.id());
            return vec![Problem::blocks("cloud-field", message).at(self.origin())];
        };
        let mut known: BTreeSet<String> = self.schema.fields.iter().map(|field| field.path.to_owned()).collect();
        for reference in self.schema.references {
            known.extend([reference.path, reference.twin].map(|path| path.trim_end_matches("[]").to_owned()));
        }
        if let Tags::List(path) | Tags::Map(path) = self.schema.tags {
            known.insert(path.to_owned());
        }
        let mut unknown = Vec::new();
        collect_unknown(spec, "", &known, &mut unknown);
        let mut problems: Vec<Problem> = unknown
            .into_iter()
            .map(|path| {
                let message = format!("{}: spec.{path} is not honoured by blackstart", self.resource.id());
                let near = nearest(&path, known.iter().map(String::as_str));
                let hint = match near.first() {
                    Some(near) => format!("did you mean spec.{near}? Without the field, the resource would be made other than declared"),
                    None => "leave the resource to its controller in a layer above the cluster, or leave the field out".to_owned(),
                };
                Problem::blocks("cloud-field-unknown", message).at(self.origin()).hint(hint)
            })
            .collect();
        for reference in self.schema.references.iter().filter(|reference| reference.path != reference.twin) {
            // Both at one place: ACK refuses it.
            let plain = reference.path.trim_end_matches("[]");
            if !plain.contains("[]") && at(self.spec(), plain).is_some() && at(self.spec(), reference.twin.trim_end_matches("[]")).is_some()
            {
                let message =
                    format!("{}: spec.{plain} and spec.{} exclude each other", self.resource.id(), reference.twin.trim_end_matches("[]"));
                problems.push(Problem::blocks("cloud-field", message).at(self.origin()));
            }
        }
        problems
    }
}

/// Paths of declared values that no honoured field covers.
fn collect_unknown(object: &Map<String, Value>, above: &str, known: &BTreeSet<String>, unknown: &mut Vec<String>) {
    for (key, value) in object {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        if known.contains(&path) {
            continue;
        }
        let has_more = known.iter().any(|known| known.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')));
        match value.as_object() {
            Some(below) if has_more => collect_unknown(below, &path, known, unknown),
            _ => unknown.push(path),
        }
    }
}

/// The value at a path with dots.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Writes a value at a path with dots, making the objects on the way.
pub fn put(value: &mut Value, path: &str, new: Value) {
    let mut here = value;
    for key in path.split('.') {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        here = &mut here[key];
    }
    *here = new;
}

/// Tags of a spec in the form of a kind.
pub fn tags(spec: &Value, form: Tags) -> BTreeMap<String, String> {
    match form {
        Tags::None => BTreeMap::new(),
        Tags::List(path) => at(spec, path)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|tag| {
                // KMS calls them otherwise, in AWS and so in ACK.
                let field = |name: &str, of_kms: &str| tag.get(name).or_else(|| tag.get(of_kms));
                let key = field("key", "tagKey")?.as_str()?.to_owned();
                Some((key, text(field("value", "tagValue").unwrap_or(&Value::Null))))
            })
            .collect(),
        Tags::Map(path) => {
            at(spec, path).and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
        }
    }
}

/// A scalar as text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Fills a pattern such as `arn:{partition}:sqs:{region}:{account}:{queueName}`; none where a field is missing or not yet known.
fn fill(pattern: &str, spec: &Value, place: &Place) -> Option<String> {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        filled.push_str(before);
        let (name, default) = name.split_once('|').map_or((name, None), |(name, default)| (name, Some(default)));
        match name {
            "partition" => filled.push_str(&place.partition),
            "account" => filled.push_str(&place.account),
            "region" => filled.push_str(&place.region),
            name => match at(spec, name) {
                Some(value) => filled.push_str(&text(value)),
                None => filled.push_str(default?),
            },
        }
        rest = behind;
    }
    filled.push_str(rest);
    Some(filled)
}
