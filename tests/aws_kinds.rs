//! Every kind of cloud resource against moto: made from nothing, found again as declared, changed in place, deleted.
//!
//! tests/aws/NAME.yaml holds manifests (refs between them are resolved). A manifest may carry an annotation for the test alone:
//! `test/change: '{"retentionDays": 7}'` (JSON merged into `spec` afterwards: the change must be made in place and be seen).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;

use account::{Account, declared, manifests};
use blackstart::aws::{self, Meaning};
use blackstart::layers::infrastructure::{needs, status};
use blackstart::plan::Action;
use serde_json::Value;
use std::path::Path;

fn merge(value: &mut Value, change: &Value) {
    match (value.as_object_mut(), change.as_object()) {
        (Some(object), Some(altered)) => {
            for (key, change) in altered {
                merge(object.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        _ => value.clone_from(change),
    }
}

async fn life(file: &str) {
    let resources = manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws").join(file));
    let Some(account) = Account::open(1).await else { return };
    let all = declared(&resources);
    let others = |actions: &[Action], expected: Action| -> Vec<String> {
        all.iter()
            .zip(actions)
            .filter(|(_, action)| **action != expected)
            .map(|(one, action)| format!("{} {action:?}", one.node()))
            .collect()
    };

    assert_eq!(others(&account.actions(&all).await, Action::Create), [""; 0], "nothing lives at first");
    let built = account.run(&all).await;
    assert!(built.success);

    for (position, living) in &built.living {
        let schema = all[*position].schema;
        for field in living.status.as_object().into_iter().flat_map(|status| status.keys()).filter(|field| *field != "ackResourceMetadata")
        {
            assert!(
                status(schema).unwrap_or_default().contains(&field.as_str()),
                "layers/infrastructure/status.rs: {} {field}",
                schema.kind
            );
        }
    }

    account.edge.take_calls();
    assert_eq!(others(&account.actions(&all).await, Action::Keep), [""; 0], "found again as declared");
    assert!(account.run(&all).await.success);
    assert_eq!(account.writes(), [""; 0], "a second run writes nothing");

    let mut changed = resources.clone();
    let mut altered = Vec::new();
    for (position, resource) in changed.iter_mut().enumerate() {
        let change = resource.value.pointer("/metadata/annotations/test~1change").and_then(Value::as_str).map(str::to_owned);
        if let Some(change) = change {
            merge(&mut resource.value["spec"], &serde_json::from_str(&change).expect("JSON in test/change"));
            altered.push(position);
        }
    }
    if !altered.is_empty() {
        let changed = declared(&changed);
        let actions = account.actions(&changed).await;
        let updates: Vec<usize> = (0..actions.len()).filter(|&position| actions[position] == Action::Update).collect();
        assert_eq!(updates, altered, "{actions:?}");
        assert!(account.run(&changed).await.success);
        assert_eq!(others(&account.actions(&changed).await, Action::Keep), [""; 0], "changed as declared");
    }

    // Backwards: what needs others goes first.
    let (needs, _) = needs(&all, account.cloud.place());
    let mut left: Vec<usize> = (0..all.len()).collect();
    let mut refused = 0;
    while let Some(at) = left.iter().position(|one| !needs.iter().any(|need| !need.late && need.from == *one && left.contains(&need.to))) {
        let position = left.remove(at);
        let kind = aws::kind(all[position].schema).unwrap();
        for time in ["once", "twice"] {
            match kind.delete(&account.cloud, &built.living[&position]).await {
                // No manifest says that a gateway stays as long as addresses are mapped to it.
                Err(error) if error.meaning == Meaning::Dependency && refused < all.len() => {
                    refused += 1;
                    left.push(position);
                    break;
                }
                deleted => deleted.unwrap_or_else(|error| panic!("{}: deleted {time}: {error}", all[position].node())),
            }
        }
    }
    assert_eq!(others(&account.actions(&all).await, Action::Create), [""; 0], "nothing lives at the end");
}

macro_rules! lives {
    ($($name:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            life(concat!(stringify!($name), ".yaml")).await;
        }
    )* };
}

lives! { compute dynamodb ec2 ecr eks elbv2 iam kms logs rds route53 s3 secretsmanager security_groups sns sqs }
