//! Which permissions the planned calls need, and what IAM's simulation of them means.

use super::{Check, Group};
use crate::layers::infrastructure::{Declared, Difference, Place, at};
use crate::plan::Action;
use crate::restore::Backup;
use std::collections::{BTreeMap, BTreeSet};

/// The IAM actions of a kind's calls, without the service's prefix where it is the kind's own (`iam:PassRole` is in full).
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// As in its schema.
    pub service: &'static str,
    /// As in its schema.
    pub kind: &'static str,
    /// To see it.
    pub look: &'static [&'static str],
    /// To make it.
    pub make: &'static [&'static str],
    /// To tag it.
    pub mark: &'static [&'static str],
    /// To set a field, when it is made with it or differs; the path or its beginning.
    pub fields: &'static [(&'static str, &'static [&'static str])],
    /// To change any other field.
    pub change: &'static [&'static str],
}

/// The IAM actions by which a kind's data comes back, in the same words.
#[derive(Clone, Copy, Debug)]
pub struct Restores {
    /// As in its schema.
    pub service: &'static str,
    /// As in its schema.
    pub kind: &'static str,
    /// To find backups of what is gone.
    pub find: &'static [&'static str],
    /// To make it from one, in place of the calls that make it empty.
    pub make: &'static [&'static str],
}

/// What each kind's calls need.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// To look, make and change.
    pub calls: &'static [Calls],
    /// To restore.
    pub restores: &'static [Restores],
    /// To see whether the key of a backup can be used; in full.
    pub key: &'static [&'static str],
}

/// A manifest, and what a run does with it.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The manifest.
    pub declared: &'a Declared,
    /// What is done.
    pub action: Action,
    /// What differs.
    pub differences: &'a [Difference],
    /// What it is restored from.
    pub backup: Option<&'a Backup>,
}

impl<'a> Planned<'a> {
    /// One that no backup is used for.
    pub fn new(declared: &'a Declared, action: Action) -> Self {
        Self { declared, action, differences: &[], backup: None }
    }
}

/// What one permission is needed for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// `ec2:CreateVpc`.
    pub action: String,
    /// ARN, or `*` where it follows from nothing.
    pub resource: String,
}

/// IAM's prefix of a service.
fn prefix(service: &str) -> &str {
    match service {
        "cloudwatchlogs" => "logs",
        "elbv2" => "elasticloadbalancing",
        service => service,
    }
}

/// What a run needs, with the first resource that needs it.
pub fn needed<'a>(planned: impl Iterator<Item = Planned<'a>>, table: &Table, place: &Place) -> BTreeMap<Need, String> {
    let mut needs = BTreeMap::new();
    for Planned { declared, action, differences, backup } in planned {
        let schema = declared.schema;
        let Some(calls) = table.calls.iter().find(|calls| (calls.service, calls.kind) == (schema.service, schema.kind)) else { continue };
        let restores = table.restores.iter().find(|one| (one.service, one.kind) == (schema.service, schema.kind));
        let find = restores.map_or(&[][..], |restores| restores.find);
        let mut actions: BTreeSet<&str> = calls.look.iter().copied().collect();
        let fields = |is_meant: &dyn Fn(&str) -> bool| {
            calls.fields.iter().filter(|(path, _)| is_meant(path)).flat_map(|(_, all)| all.iter().copied()).collect::<Vec<_>>()
        };
        match action {
            Action::Create | Action::Restore => {
                let make = restores.filter(|_| backup.is_some()).map_or(calls.make, |restores| restores.make);
                actions.extend(make.iter().chain(calls.mark).chain(find));
                actions.extend(table.key.iter().filter(|_| backup.is_some_and(|backup| backup.key.is_some())));
                actions.extend(fields(&|path| declares(declared, path)));
            }
            Action::Update => {
                actions.extend(fields(&|path| differences.iter().any(|difference| difference.path.starts_with(path))));
                let is_special = |path: &str| calls.fields.iter().any(|(field, _)| path.starts_with(field));
                if differences.iter().any(|difference| difference.path != "tags" && !is_special(difference.path)) {
                    actions.extend(calls.change);
                }
                if differences.iter().any(|difference| difference.path == "tags") {
                    actions.extend(calls.mark);
                }
            }
            Action::Adopt => actions.extend(calls.mark),
            _ => {}
        }
        let own = declared.arn(place);
        for action in actions {
            let is_look = calls.look.contains(&action) || find.contains(&action);
            let in_full = action.contains(':');
            let resource = own.clone().filter(|_| !is_look && !in_full).unwrap_or_else(|| "*".to_owned());
            let action = if in_full { action.to_owned() } else { format!("{}:{action}", prefix(schema.service)) };
            needs.entry(Need { action, resource }).or_insert_with(|| declared.resource.id().to_string());
        }
    }
    needs
}

/// Whether a manifest says something at this path, by value or by the twin that names another resource.
fn declares(declared: &Declared, path: &str) -> bool {
    let says = |path: &str| {
        // `blocks[1]` is a second element, `blocks[]` any.
        let (path, least) = path.split_once('[').map_or((path, 0), |(path, index)| (path, usize::from(index.starts_with('1'))));
        at(declared.spec(), path).is_some_and(|value| value.as_array().map_or(!value.is_null(), |list| list.len() > least))
    };
    says(path) || declared.schema.references.iter().any(|reference| reference.path.starts_with(path) && says(reference.twin))
}

/// What IAM's simulation says of one need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is allowed.
    Allowed,
    /// A policy denies it.
    Denied,
    /// No policy allows it.
    NotAllowed,
    /// It depends on condition keys that a simulation does not have.
    Depends(Vec<String>),
}

/// What the answers mean: one finding for what is allowed, one for each that is not.
pub fn judge(who: &str, answers: &[(&Need, &str, Answer)]) -> Vec<Check> {
    let allowed = answers.iter().filter(|(.., answer)| *answer == Answer::Allowed).count();
    let mut checks = Vec::new();
    if allowed > 0 {
        checks.push(Check::ok(
            Group::Permissions,
            who,
            format!("{allowed} of {} permissions that the plan needs are granted", answers.len()),
        ));
    }
    for (need, object, answer) in answers {
        let on = if need.resource == "*" { String::new() } else { format!(" on {}", need.resource) };
        let fix = || format!("allow {who} {}{on}", need.action);
        checks.push(match answer {
            Answer::Allowed => continue,
            Answer::Denied => {
                Check::blocker(Group::Permissions, &need.action, format!("a policy denies it{on}; {object} needs it")).fix(fix())
            }
            Answer::NotAllowed => {
                Check::blocker(Group::Permissions, &need.action, format!("no policy allows it{on}; {object} needs it")).fix(fix())
            }
            Answer::Depends(keys) => Check::not_checked(
                Group::Permissions,
                &need.action,
                format!("depends on {}, which is known only in the call itself", keys.join(", ")),
            ),
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::layers::infrastructure::{Change, Identity, Schema, Tags, field};
    use crate::manifest::Resource;
    use serde_json::json;

    static QUEUE: Schema = Schema {
        service: "sqs",
        kind: "Queue",
        identity: Identity::Name(&["queueName"]),
        fields: &[field("queueName"), field("policy")],
        references: &[],
        tags: Tags::Map("tags"),
        arn: Some("arn:{partition}:sqs:{region}:{account}:{queueName}"),
        seconds: 1,
    };
    const TABLE: Table = Table {
        calls: &[Calls {
            service: "sqs",
            kind: "Queue",
            look: &["ListQueues"],
            make: &["CreateQueue", "iam:PassRole"],
            mark: &["TagQueue"],
            fields: &[("policy", &["AddPermission"])],
            change: &["SetQueueAttributes"],
        }],
        restores: &[],
        key: &["kms:DescribeKey"],
    };
    /// The same, as if backups were kept of queues.
    const KEPT: Table =
        Table { restores: &[Restores { service: "sqs", kind: "Queue", find: &["ListBackups"], make: &["RestoreQueue"] }], ..TABLE };

    #[expect(clippy::needless_pass_by_value, reason = "as `json!` gives it")]
    fn actions(spec: serde_json::Value, action: Action, differing: &[&'static str]) -> Vec<(String, String)> {
        let resource = Resource { value: json!({"kind": "Queue", "metadata": {"name": "q"}, "spec": spec}), origin: None };
        let declared = Declared { schema: &QUEUE, resource };
        let differences: Vec<Difference> =
            differing.iter().map(|path| Difference { path, declared: json!(1), living: json!(2), change: Change::InPlace }).collect();
        let planned = Planned { differences: &differences, ..Planned::new(&declared, action) };
        let needs = needed([planned].into_iter(), &TABLE, &Place::new("1", "r"));
        needs.into_keys().map(|need| (need.action, need.resource)).collect()
    }

    #[test]
    fn what_comes_back_from_a_backup_needs_other_permissions() {
        let resource =
            Resource { value: json!({"kind": "Queue", "metadata": {"name": "q"}, "spec": {"queueName": "orders"}}), origin: None };
        let declared = Declared { schema: &QUEUE, resource };
        let backup = |key: Option<&str>| Backup {
            id: "b".into(),
            what: "backup",
            taken: jiff::Timestamp::UNIX_EPOCH,
            unusable: None,
            key: key.map(str::to_owned),
        };
        let actions = |action: Action, backup: Option<&Backup>| {
            let planned = Planned { backup, ..Planned::new(&declared, action) };
            let needs = needed([planned].into_iter(), &KEPT, &Place::new("1", "r"));
            needs.into_keys().map(|need| (need.action, need.resource == "*")).collect::<Vec<_>>()
        };
        let told = |all: &[(&str, bool)]| all.iter().map(|(action, all)| ((*action).to_owned(), *all)).collect::<Vec<_>>();
        assert_eq!(
            actions(Action::Restore, Some(&backup(None))),
            told(&[("sqs:ListBackups", true), ("sqs:ListQueues", true), ("sqs:RestoreQueue", false), ("sqs:TagQueue", false)])
        );
        let with_key = actions(Action::Restore, Some(&backup(Some("key"))));
        assert!(with_key.contains(&("kms:DescribeKey".to_owned(), true)), "{with_key:?}");
        let empty = actions(Action::Create, None);
        assert!(
            empty.contains(&("sqs:ListBackups".to_owned(), true)) && empty.contains(&("sqs:CreateQueue".to_owned(), false)),
            "{empty:?}"
        );
        assert_eq!(actions(Action::Keep, None), told(&[("sqs:ListQueues", true)]));
    }

    #[test]
    fn permissions_follow_from_what_is_done() {
        let pair = |action: &str, resource: &str| (action.to_owned(), resource.to_owned());
        let queue = "arn:aws:sqs:r:1:orders";
        let spec = json!({"queueName": "orders"});
        assert_eq!(actions(spec.clone(), Action::Keep, &[]), [pair("sqs:ListQueues", "*")]);
        assert_eq!(
            actions(spec.clone(), Action::Create, &[]),
            [pair("iam:PassRole", "*"), pair("sqs:CreateQueue", queue), pair("sqs:ListQueues", "*"), pair("sqs:TagQueue", queue)]
        );
        assert_eq!(actions(spec.clone(), Action::Update, &["policy"]), [pair("sqs:AddPermission", queue), pair("sqs:ListQueues", "*")]);
        assert_eq!(actions(spec.clone(), Action::Update, &["delay"]), [pair("sqs:ListQueues", "*"), pair("sqs:SetQueueAttributes", queue)]);
        assert_eq!(actions(spec, Action::Adopt, &[]), [pair("sqs:ListQueues", "*"), pair("sqs:TagQueue", queue)]);
        let with_policy = actions(json!({"queueName": "orders", "policy": "{}"}), Action::Create, &[]);
        assert!(with_policy.contains(&pair("sqs:AddPermission", queue)), "{with_policy:?}");
    }

    #[test]
    fn what_is_not_allowed_names_the_permission_and_who_needs_it() {
        let need = |action: &str| Need { action: action.into(), resource: "*".into() };
        let (one, two, three) = (need("ec2:CreateVpc"), need("ec2:CreateSubnet"), need("s3:CreateBucket"));
        let checks = judge(
            "role ops",
            &[
                (&one, "VPC main", Answer::Allowed),
                (&two, "Subnet a", Answer::NotAllowed),
                (&three, "Bucket b", Answer::Depends(vec!["aws:RequestedRegion".into()])),
            ],
        );
        let verdicts: Vec<Verdict> = checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Blocker, Verdict::NotChecked]);
        assert_eq!(checks[1].fix.as_deref(), Some("allow role ops ec2:CreateSubnet"));
        assert!(checks[1].found.contains("Subnet a"));
    }
}
