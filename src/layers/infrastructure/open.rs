//! Manifests with values that are known only when something else is made. Pure.

use super::{Declared, Place, Schema, Tags, at};
use crate::layers::outputs::{self, Output};
use serde_json::Value;
use std::collections::BTreeSet;

/// A manifest with what is known in place of its marks.
#[derive(Clone, Debug)]
pub struct Filled {
    /// The manifest; fields that hold a value which is not known are taken out of its spec.
    pub declared: Declared,
    /// Those fields.
    pub unknown: Vec<String>,
    /// What they wait for.
    pub open: BTreeSet<Output>,
}

/// Puts known values in place of marks.
///
/// # Errors
/// Where the manifest is no YAML any more with these values.
pub fn filled(declared: &Declared, give: impl Fn(&Output) -> Option<Value>) -> Result<Filled, String> {
    let mut declared = declared.clone();
    if !outputs::holds(&declared.resource.value) {
        return Ok(Filled { declared, unknown: Vec::new(), open: BTreeSet::new() });
    }
    let value = outputs::fill(&declared.resource.value, give).map_err(|why| format!("{} {why}", declared.resource.id()))?;
    let open = outputs::outputs(&value);
    declared.resource.value = value;
    let mut unknown = Vec::new();
    if let Some(spec) = declared.resource.value.get_mut("spec") {
        for path in paths(declared.schema) {
            if at(spec, path).is_some_and(outputs::holds) {
                remove(spec, path);
                unknown.push(path.to_owned());
            }
        }
    }
    Ok(Filled { declared, unknown, open })
}

/// Longest paths first, so that no more is taken out than has to be.
fn paths(schema: &Schema) -> Vec<&str> {
    let mut paths: BTreeSet<&str> = schema.fields.iter().map(|field| field.path).collect();
    for reference in schema.references {
        paths.extend([reference.path, reference.twin].map(|path| path.split("[]").next().unwrap_or(path)));
    }
    if let Tags::List(path) | Tags::Map(path) = schema.tags {
        paths.insert(path);
    }
    let mut paths: Vec<&str> = paths.into_iter().collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    paths
}

fn remove(value: &mut Value, path: &str) {
    let removed = match path.rsplit_once('.') {
        Some((above, key)) => value.pointer_mut(&format!("/{}", above.replace('.', "/"))).map(|above| (above, key)),
        None => Some((value, path)),
    };
    if let Some(map) = removed.and_then(|(above, key)| Some((above.as_object_mut()?, key))) {
        map.0.remove(map.1);
    }
}

/// An output that follows from the manifest alone: a field of its spec, or its ARN.
pub fn known_output(declared: &Declared, output: &str, place: &Place) -> Option<String> {
    match output {
        "arn" => declared.arn(place),
        field => at(declared.spec(), field).and_then(Value::as_str).map(str::to_owned),
    }
    .filter(|text| !outputs::is_open(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Change, Field, Identity, Shape, field, refers};
    use super::*;
    use crate::manifest::Resource;
    use serde_json::json;

    static SUBNET: Schema = Schema {
        service: "ec2",
        kind: "Subnet",
        identity: Identity::Tags,
        fields: &[field("cidrBlock"), field("options.dns"), Field { path: "policy", change: Change::InPlace, shape: Shape::Policy }],
        references: &[refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID")],
        tags: Tags::List("tags"),
        arn: None,
        seconds: 1,
    };

    fn mark(variable: &str) -> String {
        output(variable).mark()
    }

    fn output(variable: &str) -> Output {
        Output { variable: variable.into(), node: "command/a".into(), field: "x".into() }
    }

    fn subnet(spec: &Value) -> Declared {
        let value = json!({"apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": "Subnet", "metadata": {"name": "a"}, "spec": spec});
        Declared { schema: &SUBNET, resource: Resource { value, origin: None } }
    }

    #[test]
    fn what_is_not_known_is_taken_out_and_named() {
        let declared = subnet(&json!({
            "cidrBlock": "10.0.0.0/24", "vpcID": mark("VPC"), "options": {"dns": mark("DNS"), "other": true}, "tags": [{"key": "a", "value": mark("VPC")}],
        }));
        let some = filled(&declared, |output| (output.variable == "DNS").then(|| "yes".into())).unwrap();
        assert_eq!(some.declared.spec(), &json!({"cidrBlock": "10.0.0.0/24", "options": {"dns": true, "other": true}}));
        assert_eq!(some.unknown, ["vpcID", "tags"]);
        assert_eq!(some.open, [output("VPC")].into());
        let all = filled(&declared, |_| Some("v".into())).unwrap();
        assert!(all.unknown.is_empty() && all.declared.spec()["vpcID"] == "v");
    }

    #[test]
    fn what_has_no_marks_stays_as_it_is() {
        let declared = subnet(&json!({"cidrBlock": "0644"}));
        assert_eq!(filled(&declared, |_| None).unwrap().declared.resource, declared.resource);
    }
}
