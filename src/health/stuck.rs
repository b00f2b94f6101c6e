//! What does not go on by itself, by the object alone: a namespace that cannot go, a definition that is not whole, a Helm release that nobody
//! finishes, something of the agent that is suspended.

use serde_json::Value;

/// A release that was begun and has not ended, as Helm keeps it (a Secret `sh.helm.release.v1.NAME.vN`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the release.
    pub name: String,
    /// `pending-install`, `pending-upgrade` or `pending-rollback`.
    pub status: String,
    /// When it was begun, as Unix seconds.
    pub since: i64,
}

/// The labels are those of Helm's own storage (helm.sh/helm `pkg/storage/driver/secrets.go`).
pub fn release(secret: &Value) -> Option<Pending> {
    let label = |key: &str| secret.pointer(&format!("/metadata/labels/{key}")).and_then(Value::as_str);
    let status = label("status").filter(|status| status.starts_with("pending-"))?;
    let time = |key: &str| label(key).and_then(|seconds| seconds.parse().ok());
    let made = || text(secret, "/metadata/creationTimestamp").parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    Some(Pending {
        namespace: text(secret, "/metadata/namespace").to_owned(),
        name: label("name")?.to_owned(),
        status: status.to_owned(),
        since: time("modifiedAt").or_else(|| time("createdAt")).or_else(made)?,
    })
}

/// Where a HelmRelease keeps its release: namespace and name (`GetStorageNamespace`, `GetReleaseName` of helm-controller's API).
pub fn storage(release: &Value) -> (String, String) {
    let (namespace, name) = (text(release, "/metadata/namespace"), text(release, "/metadata/name"));
    let or = |pointer: &str, other: &str| Some(text(release, pointer)).filter(|text| !text.is_empty()).unwrap_or(other).to_owned();
    let made = match text(release, "/spec/targetNamespace") {
        "" => name.to_owned(),
        target => format!("{target}-{name}"),
    };
    (or("/spec/storageNamespace", namespace), or("/spec/releaseName", &made))
}

/// Why a HelmRelease is not tried again, where its controller has given up.
pub fn given_up(release: &Value) -> Option<String> {
    let stalled = condition(release, "Stalled").filter(|condition| condition["status"] == "True")?;
    let reason = text(stalled, "/reason");
    // What is wrong with the manifest itself no new try mends.
    ["RetriesExceeded", "MissingRollbackTarget"].contains(&reason).then(|| format!("{reason}: {}", text(stalled, "/message")))
}

/// Who suspended an object of the agent, and when; none where it is not suspended.
pub fn suspended(object: &Value) -> Option<(String, String)> {
    if object.pointer("/spec/suspend") != Some(&Value::Bool(true)) {
        return None;
    }
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let owners = entries.filter(|entry| entry.pointer("/fieldsV1/f:spec/f:suspend").is_some());
    let last = owners.max_by_key(|entry| text(entry, "/time").to_owned());
    Some(last.map(|entry| (text(entry, "/manager").to_owned(), text(entry, "/time").to_owned())).unwrap_or_default())
}

/// Why a CustomResourceDefinition cannot be used; none where it can.
pub fn definition(definition: &Value) -> Option<String> {
    let said = |condition: &Value| format!("{}: {}", text(condition, "/reason"), text(condition, "/message"));
    if is_leaving(definition) {
        let held = condition(definition, "Terminating").map_or_else(|| finalizers(definition).join(", "), said);
        return Some(format!("is being deleted since {} ({held})", text(definition, "/metadata/deletionTimestamp")));
    }
    let refused = condition(definition, "NamesAccepted").filter(|condition| condition["status"] == "False");
    let missing = condition(definition, "Established").filter(|condition| condition["status"] != "True");
    refused.or(missing).map(|condition| format!("is not established: {}", said(condition)))
}

/// The Service (namespace, name) that converts objects of a CustomResourceDefinition.
pub fn converter(definition: &Value) -> Option<(String, String)> {
    if text(definition, "/spec/conversion/strategy") != "Webhook" {
        return None;
    }
    let service = definition.pointer("/spec/conversion/webhook/clientConfig/service")?;
    Some((text(service, "/namespace").to_owned(), text(service, "/name").to_owned()))
}

/// What holds a namespace that is being deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// In the words of Kubernetes' own controller.
    pub words: Vec<String>,
    /// Kinds of which objects are left, as `plural.group`; `pods` for the core group.
    pub left: Vec<String>,
    /// Some API of the cluster does not answer, so that nobody knows what is left.
    pub is_blind: bool,
}

/// None where it is not being deleted.
pub fn namespace(namespace: &Value) -> Option<Held> {
    if !is_leaving(namespace) {
        return None;
    }
    let mut held = Held::default();
    for condition in conditions(namespace).filter(|condition| condition["status"] == "True") {
        let message = text(condition, "/message");
        match text(condition, "/type") {
            // "Some resources are remaining: pods. has 1 resource instances, widgets.example.com has 2 resource instances"
            "NamespaceContentRemaining" => {
                let list = message.split_once(": ").map_or("", |(_, list)| list).split(", ");
                held.left = list.filter_map(|one| Some(one.split_once(" has ")?.0.trim_end_matches('.').to_owned())).collect();
            }
            "NamespaceDeletionDiscoveryFailure" => held.is_blind = true,
            "NamespaceFinalizersRemaining" | "NamespaceDeletionContentFailure" | "NamespaceDeletionGroupVersionParsingFailure" => {}
            _ => continue,
        }
        held.words.push(message.to_owned());
    }
    if held.words.is_empty() {
        let finalizers = namespace.pointer("/spec/finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let finalizers: Vec<String> = finalizers.map(str::to_owned).chain(self::finalizers(namespace)).collect();
        held.words.push(format!("held by {}", finalizers.join(", ")));
    }
    Some(held)
}

/// Finalizers of an object.
pub fn finalizers(object: &Value) -> Vec<String> {
    let all = object.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether it is being deleted.
pub fn is_leaving(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(object).find(|condition| condition["type"] == kind)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_release_is_pending_by_the_labels_of_helm() {
        let secret = |status: &str| {
            json!({"metadata": {
                "namespace": "shop", "name": "sh.helm.release.v1.api.v3",
                "labels": {"owner": "helm", "name": "api", "version": "3", "status": status, "createdAt": "100", "modifiedAt": "160"},
            }})
        };
        let pending = release(&secret("pending-upgrade")).expect("pending");
        assert_eq!((pending.namespace.as_str(), pending.name.as_str(), pending.since), ("shop", "api", 160));
        assert_eq!(release(&secret("deployed")), None);
    }

    #[test]
    fn a_release_is_kept_where_helm_controller_keeps_it() {
        let storage = |spec: Value| storage(&json!({"metadata": {"namespace": "flux", "name": "api"}, "spec": spec}));
        let told = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(storage(json!({})), told("flux", "api"));
        assert_eq!(storage(json!({"targetNamespace": "shop"})), told("flux", "shop-api"));
        assert_eq!(storage(json!({"targetNamespace": "shop", "releaseName": "a", "storageNamespace": "s"})), told("s", "a"));
    }

    #[test]
    fn a_definition_is_told_by_what_its_conditions_say() {
        let with = |conditions: Value| json!({"metadata": {"name": "a.b"}, "status": {"conditions": conditions}});
        let whole = json!([{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]);
        assert_eq!(definition(&with(whole)), None);
        assert_eq!(definition(&json!({"metadata": {"name": "a.b"}})), None, "not looked at yet");
        let clash = json!([
            {"type": "Established", "status": "False", "reason": "NotAccepted", "message": "not all names are accepted"},
            {"type": "NamesAccepted", "status": "False", "reason": "KindConflict", "message": "\"Widget\" is already in use"},
        ]);
        assert_eq!(definition(&with(clash)).as_deref(), Some("is not established: KindConflict: \"Widget\" is already in use"));
    }

    #[test]
    fn a_namespace_tells_what_holds_it() {
        let living = json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}});
        assert_eq!(namespace(&living), None);
        let leaving = |conditions: Value| {
            json!({
                "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating", "conditions": conditions},
            })
        };
        assert_eq!(namespace(&leaving(json!([]))).expect("leaving").words, ["held by kubernetes"]);
        let held = namespace(&leaving(json!([
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "All resources successfully discovered"},
            {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: pods. has 1 resource instances, widgets.example.com has 2 resource instances"},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"},
        ])))
        .expect("leaving");
        assert_eq!((held.left, held.words.len(), held.is_blind), (vec!["pods".to_owned(), "widgets.example.com".to_owned()], 2, false));
    }

    #[test]
    fn whoever_suspended_last_is_named() {
        let entry = |manager: &str, time: &str, field: &str| json!({"manager": manager, "time": time, "fieldsV1": {"f:spec": {field: {}}}});
        let mut object = json!({
            "spec": {"suspend": true},
            "metadata": {"managedFields": [entry("flux", "2026-01-02T00:00:00Z", "f:suspend"), entry("kustomize-controller", "2026-01-03T00:00:00Z", "f:path")]},
        });
        assert_eq!(suspended(&object), Some(("flux".to_owned(), "2026-01-02T00:00:00Z".to_owned())));
        object["spec"]["suspend"] = json!(false);
        assert_eq!(suspended(&object), None);
    }
}
