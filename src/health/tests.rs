//! Tables: an object in short YAML, and how it is.

use super::*;
use crate::layers::flux::HealthCheckExpr;

fn yaml(text: &str) -> Value {
    crate::manifest::yaml::documents(text).unwrap().remove(0).value
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(of(&yaml(text)).to_string(), *expected, "{text}");
    }
}

#[test]
fn deletion_generation_and_the_standard_conditions_come_first() {
    check(&[
        (
            "{apiVersion: x.io/v1, kind: A, metadata: {deletionTimestamp: t, finalizers: [f]}}",
            "being deleted: scheduled for deletion, held by f",
        ),
        (
            "{apiVersion: x.io/v1, kind: A, metadata: {generation: 2}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}}",
            "in progress: generation is 2, its controller has seen 1",
        ),
        (
            "{apiVersion: x.io/v1, kind: A, metadata: {generation: 1}, status: {observedGeneration: -1}}",
            "in progress: its controller has not looked at it yet",
        ),
        (
            "{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Reconciling, status: 'True', message: m}, {type: Ready, status: 'True'}]}}",
            "in progress: m",
        ),
        ("{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Stalled, status: 'True', reason: Broken}]}}", "failed: Broken"),
        (
            "{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Stalled, status: 'False'}, {type: Ready, status: 'True'}]}}",
            "ready",
        ),
    ]);
}

#[test]
fn workloads_are_ready_when_all_their_pods_are() {
    check(&[
        ("{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 2}, status: {replicas: 1}}", "in progress: 1 of 2 replicas exist"),
        ("{apiVersion: apps/v1, kind: Deployment, spec: {}}", "in progress: 0 of 1 replicas exist"),
        (
            "{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 1}, status: {replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}]}}",
            "ready",
        ),
        (
            "{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 1, progressDeadlineSeconds: 600}, status: {replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: ReplicaSetUpdated}]}}",
            "in progress: its new ReplicaSet is not available",
        ),
        (
            "{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 0, progressDeadlineSeconds: 600}, status: {conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]}}",
            "ready",
        ),
        (
            "{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 1}, status: {conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: too late}]}}",
            "failed: too late",
        ),
        ("{apiVersion: apps/v1, kind: StatefulSet, spec: {updateStrategy: {type: OnDelete}}}", "ready"),
        (
            "{apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 2}, status: {replicas: 2, readyReplicas: 1}}",
            "in progress: 1 of 2 replicas are ready",
        ),
        (
            "{apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 1}, status: {replicas: 1, readyReplicas: 1, currentReplicas: 1, currentRevision: a, updateRevision: b}}",
            "in progress: its update is not finished",
        ),
        (
            "{apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 2}}}, status: {replicas: 3, readyReplicas: 3, updatedReplicas: 1}}",
            "ready",
        ),
        ("{apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 1}}", "in progress: its controller has not looked at it yet"),
        (
            "{apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 1}, status: {observedGeneration: 1, desiredNumberScheduled: 2, currentNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 1}}",
            "in progress: 1 of 2 pods are available",
        ),
        (
            "{apiVersion: apps/v1, kind: ReplicaSet, spec: {replicas: 0}, status: {replicas: 1}}",
            "in progress: 1 replicas are pending termination",
        ),
        ("{apiVersion: batch/v1, kind: Job}", "in progress: it has not started"),
        (
            "{apiVersion: batch/v1, kind: Job, status: {startTime: t, active: 1}}",
            "in progress: it runs: 1 pods active, 0 succeeded, 0 failed",
        ),
        ("{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Complete, status: 'True'}]}}", "ready"),
        (
            "{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Failed, status: 'True', message: BackoffLimitExceeded}]}}",
            "failed: BackoffLimitExceeded",
        ),
        ("{apiVersion: batch/v1, kind: Job, spec: {suspend: true}}", "ready"),
        ("{apiVersion: v1, kind: Pod, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "ready"),
        (
            "{apiVersion: v1, kind: Pod, status: {phase: Running, containerStatuses: [{name: a, state: {waiting: {reason: CrashLoopBackOff}}}]}}",
            "failed: containers crash again and again: a",
        ),
        (
            "{apiVersion: v1, kind: Pod, status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: no node}]}}",
            "in progress: no node",
        ),
    ]);
}

#[test]
fn kubernetes_own_kinds_without_a_rule_are_ready_when_they_exist() {
    check(&[
        ("{apiVersion: v1, kind: ConfigMap}", "ready"),
        ("{apiVersion: v1, kind: Namespace, status: {phase: Active}}", "ready"),
        ("{apiVersion: rbac.authorization.k8s.io/v1, kind: Role}", "ready"),
        ("{apiVersion: networking.k8s.io/v1, kind: Ingress, status: {loadBalancer: {}}}", "ready"),
        ("{apiVersion: apiregistration.k8s.io/v1, kind: APIService, status: {conditions: [{type: Available, status: 'False'}]}}", "ready"),
        ("{apiVersion: v1, kind: Service, spec: {type: LoadBalancer}}", "in progress: it has no cluster IP yet"),
        ("{apiVersion: v1, kind: Service, spec: {type: LoadBalancer, clusterIP: 10.0.0.1}}", "ready"),
        ("{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Pending}}", "in progress: claim is not bound, phase Pending"),
        ("{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition}", "in progress: it is not established yet"),
        (
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, status: {conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'True'}]}}",
            "ready",
        ),
        (
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, status: {conditions: [{type: NamesAccepted, status: 'False', message: taken}]}}",
            "failed: taken",
        ),
    ]);
}

#[test]
fn a_kind_that_nobody_knows_is_assumed_unless_it_speaks() {
    check(&[
        ("{apiVersion: x.io/v1, kind: A}", "assumed to be ready"),
        ("{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Ready, status: 'False', reason: Missing}]}}", "in progress: Missing"),
        ("{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Ready, status: 'True'}]}}", "ready"),
        ("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway}", "assumed to be ready"),
    ]);
}

#[test]
fn flux_kinds_wait_for_their_controller() {
    check(&[
        ("{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization}", "in progress: its controller has not looked at it yet"),
        ("{apiVersion: source.toolkit.fluxcd.io/v1, kind: HelmRepository, spec: {type: oci}}", "assumed to be ready"),
        ("{apiVersion: notification.toolkit.fluxcd.io/v1beta3, kind: Alert}", "assumed to be ready"),
        (
            "{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {generation: 1}, status: {observedGeneration: 1, conditions: [{type: Ready, status: 'False', message: install failed}]}}",
            "in progress: install failed",
        ),
    ]);
}

#[test]
fn cloud_resources_follow_the_conditions_of_their_controller() {
    check(&[
        ("{apiVersion: ec2.services.k8s.aws/v1alpha1, kind: VPC}", "assumed to be ready"),
        (
            "{apiVersion: ec2.services.k8s.aws/v1alpha1, kind: VPC, status: {conditions: [{type: ACK.ResourceSynced, status: 'True'}]}}",
            "ready",
        ),
        (
            "{apiVersion: ec2.services.k8s.aws/v1alpha1, kind: VPC, status: {conditions: [{type: ACK.ResourceSynced, status: 'False'}, {type: ACK.Recoverable, status: 'True', message: throttled}]}}",
            "in progress: throttled",
        ),
        (
            "{apiVersion: ec2.services.k8s.aws/v1alpha1, kind: VPC, status: {conditions: [{type: ACK.ResourceSynced, status: 'False'}, {type: ACK.Terminal, status: 'True', message: bad CIDR}]}}",
            "failed: bad CIDR",
        ),
    ]);
}

fn expression(current: &str, in_progress: Option<&str>, failed: Option<&str>) -> HealthCheckExpr {
    HealthCheckExpr {
        api_version: "x.io/v1".to_owned(),
        kind: "A".to_owned(),
        current: current.to_owned(),
        in_progress: in_progress.map(str::to_owned),
        failed: failed.map(str::to_owned),
    }
}

#[test]
fn expressions_decide_in_the_order_of_the_rfc() {
    let rules = Expressions::compile(&[expression(
        "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')",
        Some("has(status.phase) && status.phase == 'Busy'"),
        Some("status.conditions.exists(e, e.type == 'Broken')"),
    )])
    .unwrap();
    let check = |text: &str, expected: &str| {
        assert_eq!(rules.of(&yaml(text)).to_string().split('`').next().unwrap_or_default(), expected, "{text}");
    };
    check("{apiVersion: x.io/v1beta1, kind: A, status: {phase: Busy, conditions: [{type: Broken, status: 'True'}]}}", "in progress: ");
    check("{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Broken, status: 'True'}]}}", "failed: ");
    check("{apiVersion: x.io/v1, kind: A, status: {conditions: [{type: Ready, status: 'True'}]}}", "ready");
    check(
        "{apiVersion: x.io/v1, kind: A, metadata: {generation: 2}, status: {observedGeneration: 1}}",
        "in progress: its controller has not looked at its newest generation yet",
    );
    // No status yet: it cannot be evaluated, which is no failure.
    check("{apiVersion: x.io/v1, kind: A}", "in progress: CEL expression ");
    check("{apiVersion: v1, kind: ConfigMap}", "ready");
}

#[test]
fn numbers_and_words_compare_as_in_flux() {
    let rules = Expressions::compile(&[expression(
        "status.replicas == spec.replicas && status.phase in ['A', 'B'] && status.ratio > 0.5",
        None,
        None,
    )])
    .unwrap();
    assert_eq!(
        rules.of(&yaml("{apiVersion: x.io/v1, kind: A, spec: {replicas: 3}, status: {replicas: 3, phase: B, ratio: 1}}")),
        Health::Ready
    );
}

#[test]
fn an_expression_that_cannot_be_parsed_is_told_before_the_run() {
    assert!(check_expression("status.").is_err());
    assert!(check_expression("status.x == 'a'").is_ok());
    let wrong = Expressions::compile(&[expression("a ==", None, Some("b ||")), expression("", None, None)]).unwrap_err();
    assert!(wrong.len() >= 3, "{wrong:?}");
    assert!(
        Expressions::compile(&[expression("true", None, None), expression("true", None, None)]).unwrap_err()[0].contains("given twice")
    );
}

#[test]
fn a_ready_expression_speaks_of_self_and_dep() {
    let dep = yaml("{metadata: {labels: {version: '2'}}, status: {conditions: [{type: Ready, status: 'True'}]}}");
    let this = yaml("{metadata: {labels: {version: '2'}}}");
    assert_eq!(ready_expr("dep.metadata.labels['version'] == self.metadata.labels['version']", &this, &dep), Ok(true));
    assert_eq!(ready_expr("dep.status.conditions.exists(c, c.type == 'Ready' && c.status == 'False')", &this, &dep), Ok(false));
    assert!(ready_expr("dep.status.nothing", &this, &dep).is_err());
    assert_eq!(check_ready_expression("dep.status.conditions.all(c, c.status == 'True')"), Ok(()));
    assert_eq!(check_ready_expression("sets.contains(dep.spec.a, [self.spec.b]) && [1].map(x, x + 1) == [2]"), Ok(()));
    assert!(check_ready_expression("other.x == 1").unwrap_err().contains("`other` is not known"));
}
