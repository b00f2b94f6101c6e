//! Cloud resources as ACK manifests declare them: which kinds and fields are honoured, what refers to what, how a living one is found
//! again, and what differs. Pure; the facts of each kind stand beside its calls, in `aws`.

use crate::manifest::Resource;
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

/// Facts of a manifest's kind.
pub fn schema(resource: &Resource, catalogue: &Catalogue) -> Option<&'static Schema> {
    let service = service(resource)?;
    catalogue.iter().copied().find(|schema| schema.service == service && schema.kind == resource.kind())
}

impl Declared {
    /// A manifest of a known kind, with all that is wrong with its fields. None where it is no manifest of ACK.
    pub fn read(resource: &Resource, catalogue: &Catalogue) -> Option<Result<Self, Vec<Problem>>> {
        let service = service(resource)?;
        let name = resource.id();
        let Some(schema) = schema(resource, catalogue) else {
            let known: Vec<&str> = catalogue.iter().filter(|schema| schema.service == service).map(|schema| schema.kind).collect();
            let mut problem = Problem::blocks("cloud-kind-unknown", format!("{name}: blackstart does not make {service} resources of this kind"))
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
            if !plain.contains("[]") && at(self.spec(), plain).is_some() && at(self.spec(), reference.twin.trim_end_matches("[]")).is_some() {
                let message = format!("{}: spec.{plain} and spec.{} exclude each other", self.resource.id(), reference.twin.trim_end_matches("[]"));
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
            .filter_map(|tag| Some((tag.get("key")?.as_str()?.to_owned(), text(tag.get("value").unwrap_or(&Value::Null)))))
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

/// Why one cloud resource comes before another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// Position of what comes first.
    pub from: usize,
    /// Position of what waits.
    pub to: usize,
    /// In words: `vpcRef`, `its ARN in inlinePolicies`.
    pub reason: String,
    /// Not before it is made, but before it is complete.
    pub late: bool,
}

/// What waits for what among declared resources, and references to nothing.
pub fn needs(all: &[Declared], place: &Place) -> (Vec<Needs>, Vec<Problem>) {
    let mut needs = BTreeSet::new();
    let mut problems = Vec::new();
    for (to, declared) in all.iter().enumerate() {
        for reference in declared.schema.references {
            for (namespace, name) in named(declared, reference) {
                let target = all.iter().position(|other| {
                    is_of(other, reference) && other.resource.name() == name && other.resource.namespace().unwrap_or("default") == namespace
                });
                match target {
                    Some(from) => {
                        needs.insert(Needs { from, to, reason: reference.twin.trim_end_matches("[]").to_owned(), late: reference.late });
                    }
                    None => problems.push(nothing(declared, reference, &namespace, &name, all)),
                }
            }
            for value in values(declared.spec(), reference.path) {
                let from = all.iter().position(|other| is_of(other, reference) && known_output(other, reference.output, place) == Some(value.to_owned()));
                if let Some(from) = from.filter(|from| *from != to) {
                    let reason = format!("its {} in {}", reference.output, reference.path.trim_end_matches("[]"));
                    needs.insert(Needs { from, to, reason, late: reference.late });
                }
            }
        }
    }
    // ARNs inside documents: the policy may be written before, but what it names has to be there for some of its users.
    let arns: Vec<(usize, String)> = all.iter().enumerate().filter_map(|(at, other)| Some((at, other.arn(place)?))).collect();
    for (to, declared) in all.iter().enumerate() {
        for field in declared.schema.fields.iter().filter(|field| matches!(field.shape, Shape::Policy | Shape::Policies)) {
            let Some(document) = at(declared.spec(), field.path).map(Value::to_string) else { continue };
            for (from, arn) in &arns {
                // A role in a trust policy has to exist: IAM refuses an unknown principal. Elsewhere an ARN is only a name.
                if *from != to && all[*from].schema.service == "iam" && field.shape == Shape::Policy && document.contains(arn.as_str()) {
                    needs.insert(Needs { from: *from, to, reason: format!("its ARN in {}", field.path), late: false });
                }
            }
        }
    }
    (needs.into_iter().collect(), problems)
}

fn is_of(declared: &Declared, reference: &Reference) -> bool {
    declared.schema.service == reference.service && declared.schema.kind == reference.kind
}

/// `(namespace, name)` of all that a reference's twin names.
fn named(declared: &Declared, reference: &Reference) -> Vec<(String, String)> {
    if reference.path == reference.twin {
        return Vec::new();
    }
    let own = declared.resource.namespace().unwrap_or("default");
    let mut found = Vec::new();
    walk(declared.spec(), reference.twin, &mut |value| {
        let from = value.get("from").unwrap_or(&Value::Null);
        if let Some(name) = from.get("name").and_then(Value::as_str) {
            let namespace = from.get("namespace").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(own);
            found.push((namespace.to_owned(), name.to_owned()));
        }
    });
    found
}

/// The strings at a path, through lists.
fn values<'a>(spec: &'a Value, path: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    walk(spec, path, &mut |value| found.extend(value.as_str()));
    found
}

fn walk<'a>(value: &'a Value, path: &str, visit: &mut impl FnMut(&'a Value)) {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let (key, is_list) = key.strip_suffix("[]").map_or((key, false), |key| (key, true));
    let Some(value) = value.get(key) else { return };
    let mut visit_one = |value: &'a Value| match rest {
        Some(rest) => walk(value, rest, &mut *visit),
        None => visit(value),
    };
    match value.as_array() {
        Some(list) if is_list => list.iter().for_each(visit_one),
        _ => visit_one(value),
    }
}

/// An output that is known before the resource exists.
fn known_output(declared: &Declared, output: &str, place: &Place) -> Option<String> {
    match output {
        "arn" => declared.arn(place),
        field => at(declared.spec(), field).and_then(Value::as_str).map(str::to_owned),
    }
}

fn nothing(declared: &Declared, reference: &Reference, namespace: &str, name: &str, all: &[Declared]) -> Problem {
    let message = format!(
        "{}: {} names {} {namespace}/{name}, which is not declared",
        declared.resource.id(),
        reference.twin.trim_end_matches("[]"),
        reference.kind
    );
    let near = nearest(name, all.iter().filter(|other| is_of(other, reference)).map(|other| other.resource.name()));
    let problem = Problem::blocks("cloud-reference", message).at(declared.origin());
    match near.first() {
        Some(near) => problem.hint(format!("did you mean {near}?")),
        None => problem.hint(format!("declare the {}, or give its value in {}", reference.kind, reference.path.trim_end_matches("[]"))),
    }
}

/// A spec with the references that can be resolved in place of their twins; the others are named.
///
/// `outputs(service, kind, namespace, name)` gives what is known of a resource.
pub fn resolve(
    declared: &Declared,
    outputs: impl Fn(&str, &str, &str, &str) -> Option<Value>,
) -> (Value, Vec<String>) {
    let mut spec = declared.spec().clone();
    let mut unknown = Vec::new();
    let own = declared.resource.namespace().unwrap_or("default").to_owned();
    for reference in declared.schema.references.iter().filter(|reference| reference.path != reference.twin) {
        let give = |twin: &Value| {
            let from = twin.get("from")?;
            let name = from.get("name")?.as_str()?;
            let namespace = from.get("namespace").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(&own);
            let all = outputs(reference.service, reference.kind, namespace, name)?;
            at(&all, reference.output).cloned()
        };
        if !replace(&mut spec, reference.path, reference.twin, &give) {
            unknown.push(reference.path.trim_end_matches("[]").to_owned());
        }
    }
    (spec, unknown)
}

/// Puts values in place of twins; false where one is not known.
fn replace(value: &mut Value, path: &str, twin: &str, give: &impl Fn(&Value) -> Option<Value>) -> bool {
    if let (Some((head, path)), Some((same, twin))) = (path.split_once('.'), twin.split_once('.'))
        && head == same
    {
        let (key, is_list) = head.strip_suffix("[]").map_or((head, false), |key| (key, true));
        let Some(below) = value.get_mut(key) else { return true };
        return match below.as_array_mut() {
            // Each element, though one is not known.
            Some(list) if is_list => list.iter_mut().map(|element| replace(element, path, twin, give)).fold(true, |all, one| all && one),
            _ => replace(below, path, twin, give),
        };
    }
    let Some(object) = value.as_object_mut() else { return true };
    let (twin, path) = (twin.trim_end_matches("[]"), path.trim_end_matches("[]"));
    let Some(found) = object.remove(twin) else { return true };
    let given = match &found {
        Value::Array(list) => list.iter().map(give).collect::<Option<Vec<Value>>>().map(Value::Array),
        one => give(one),
    };
    match given {
        Some(given) => {
            put(value, path, given);
            true
        }
        None => false,
    }
}

/// One declared field that lives otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path in `spec`; `tags` for tags.
    pub path: &'static str,
    /// What Git declares.
    pub declared: Value,
    /// What lives.
    pub living: Value,
    /// Whether it can be changed in place.
    pub change: Change,
}

/// Declared fields that live otherwise. `spec` has its references resolved; fields that could not be are left out by the caller.
pub fn differences(schema: &'static Schema, spec: &Value, living: &Value, living_tags: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut found = Vec::new();
    for field in schema.fields.iter().filter(|field| field.change != Change::AtCreation) {
        let Some(declared) = at(spec, field.path) else { continue };
        let there = at(living, field.path).unwrap_or(&Value::Null);
        if !is_same(declared, there, field.shape) {
            found.push(Difference { path: field.path, declared: declared.clone(), living: there.clone(), change: field.change });
        }
    }
    let declared = tags(spec, schema.tags);
    if declared.iter().any(|(key, value)| living_tags.get(key) != Some(value)) {
        let json = |tags: &BTreeMap<String, String>| Value::Object(tags.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect());
        found.push(Difference { path: "tags", declared: json(&declared), living: json(living_tags), change: Change::InPlace });
    }
    found
}

fn is_same(declared: &Value, living: &Value, shape: Shape) -> bool {
    match shape {
        Shape::Plain => covers(declared, living),
        Shape::Set => match (declared.as_array(), living.as_array()) {
            (Some(declared), Some(living)) => {
                declared.len() == living.len() && declared.iter().all(|one| living.iter().any(|other| covers(one, other)))
            }
            (Some(declared), None) => declared.is_empty() && living.is_null(),
            _ => covers(declared, living),
        },
        Shape::Policy => match (document(declared), document(living)) {
            (Some(declared), Some(living)) => declared == living,
            _ => covers(declared, living),
        },
        Shape::Policies => match (declared.as_object(), living.as_object()) {
            (Some(declared), Some(living)) => {
                declared.len() == living.len()
                    && declared.iter().all(|(name, one)| living.get(name).is_some_and(|other| is_same(one, other, Shape::Policy)))
            }
            (Some(declared), None) => declared.is_empty(),
            _ => false,
        },
    }
}

/// Whether what lives is as declared: of objects only declared keys count; absent, empty and false are the same where nothing is declared.
fn covers(declared: &Value, living: &Value) -> bool {
    match (declared, living) {
        (Value::Object(declared), Value::Object(living)) => {
            declared.iter().all(|(key, value)| covers(value, living.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(declared), Value::Array(living)) => {
            declared.len() == living.len() && declared.iter().zip(living).all(|(one, other)| covers(one, other))
        }
        (Value::Object(declared), Value::Null) => declared.values().all(|value| covers(value, &Value::Null)),
        (Value::Array(declared), Value::Null) => declared.is_empty(),
        (Value::Bool(false), Value::Null) => true,
        (Value::String(declared), Value::Null) => declared.is_empty(),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        (declared, living) => declared == living || text(declared) == text(living) && !living.is_null(),
    }
}

/// A policy document with a single string and a list of one as the same, and lists without order.
fn document(value: &Value) -> Option<Value> {
    fn normal(value: Value) -> Value {
        match value {
            Value::Object(object) => Value::Object(
                object
                    .into_iter()
                    .map(|(key, value)| {
                        let value = normal(value);
                        let is_single = matches!(key.as_str(), "Statement" | "Action" | "NotAction" | "Resource" | "NotResource" | "AWS" | "Service" | "Federated");
                        let value = if is_single && !value.is_array() { Value::Array(vec![value]) } else { value };
                        (key, value)
                    })
                    .collect(),
            ),
            Value::Array(list) => {
                let mut list: Vec<Value> = list.into_iter().map(normal).collect();
                list.sort_by_key(Value::to_string);
                Value::Array(list)
            }
            other => other,
        }
    }
    serde_json::from_str::<Value>(value.as_str()?).ok().map(normal)
}
