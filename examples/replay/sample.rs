//! A made-up run of some forty layers, with the concurrency, times and messages of a real one; always the same for a seed.

use super::Action;
use super::event::{Event, Happening, Outcome};
use jiff::{SignedDuration, Timestamp};

/// What the run is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Layers beyond the named ones are numbered apps.
    pub(crate) layers: usize,
    /// One layer in the middle fails.
    pub(crate) fails: bool,
    /// In a sandbox, with stand-ins.
    pub(crate) rehearsal: bool,
    /// Changes the times.
    pub(crate) seed: u64,
}

struct Layer {
    name: String,
    objects: usize,
    apply: u64,
    settle: u64,
    needs: Vec<(String, &'static str)>,
}

/// Name, objects, milliseconds until ready, what it needs and why.
type Named = (&'static str, usize, u64, &'static [(&'static str, &'static str)]);

const NAMED: &[Named] = &[
    ("sources", 6, 120, &[]),
    ("namespaces", 14, 90, &[]),
    ("crds-cert-manager", 6, 400, &[]),
    ("crds-prometheus", 10, 500, &[]),
    (
        "cert-manager",
        42,
        4200,
        &[("crds-cert-manager", "CustomResourceDefinition certificates.cert-manager.io"), ("namespaces", "Namespace cert-manager")],
    ),
    ("cert-issuers", 3, 900, &[("cert-manager", "dependsOn")]),
    ("external-secrets", 31, 3100, &[("namespaces", "Namespace external-secrets")]),
    ("secret-stores", 4, 1200, &[("external-secrets", "dependsOn")]),
    ("ingress-nginx", 24, 3600, &[("cert-issuers", "dependsOn")]),
    (
        "monitoring",
        118,
        7900,
        &[("crds-prometheus", "CustomResourceDefinition servicemonitors.monitoring.coreos.com"), ("secret-stores", "dependsOn")],
    ),
    ("ebs-csi-driver", 22, 2700, &[("namespaces", "Namespace kube-system")]),
    ("postgres-operator", 16, 2400, &[("cert-manager", "dependsOn")]),
    ("databases", 9, 6100, &[("postgres-operator", "dependsOn"), ("ebs-csi-driver", "dependsOn"), ("secret-stores", "dependsOn")]),
    ("redis", 8, 2100, &[("ebs-csi-driver", "dependsOn")]),
];

/// The events of a made-up run.
pub(crate) fn events(shape: Shape, began: Timestamp) -> Vec<Event> {
    let mut random = shape.seed.wrapping_mul(2).wrapping_add(1);
    let mut roll = move |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most.max(1)
    };
    let layers = layers(shape, &mut roll);
    let mut out: Vec<(u64, Happening)> = Vec::new();
    out.push((0, phase("read", "working tree of clusters/production")));
    let mut now = 640;
    if shape.rehearsal {
        out.push((now, phase("sandbox", "etcd, kube-apiserver, controllers, Flux on the loopback")));
        now += 4300;
    } else {
        out.push((now, phase("connect", "https://10.0.0.12:6443")));
        now += 180;
    }
    out.push((now, planned(&layers)));
    if shape.rehearsal {
        stand_ins(&mut out, now);
    }
    out.push((now, phase("run", "16 at a time")));
    simulate(&layers, shape, now, &mut roll, &mut out);

    out.sort_by_key(|(time, _)| *time);
    let run = format!("made-up-{}", shape.seed);
    out.into_iter()
        .map(|(time, happening)| Event {
            time: began + SignedDuration::from_millis(i64::try_from(time).unwrap_or(i64::MAX)),
            run: run.clone(),
            happening,
        })
        .collect()
}

fn layers(shape: Shape, roll: &mut impl FnMut(u64) -> u64) -> Vec<Layer> {
    let mut layers: Vec<Layer> = NAMED
        .iter()
        .map(|(name, objects, settle, needs)| Layer {
            name: (*name).to_owned(),
            objects: *objects,
            apply: 40 + *objects as u64 * 6,
            settle: settle + roll(settle / 5),
            needs: needs.iter().map(|(need, reason)| ((*need).to_owned(), *reason)).collect(),
        })
        .collect();
    let apps = ["shop", "checkout", "search", "catalogue", "accounts", "mail", "billing", "reviews", "recommendations", "admin"];
    for number in layers.len()..shape.layers.max(layers.len()) {
        let app = number - NAMED.len();
        let name =
            if app < apps.len() { apps[app].to_owned() } else { format!("team-{}-service-{:02}", ["blue", "green", "red"][app % 3], app) };
        let mut needs = vec![("ingress-nginx".to_owned(), "dependsOn")];
        if app.is_multiple_of(3) {
            needs.push(("databases".to_owned(), "dependsOn"));
        }
        if app.is_multiple_of(4) {
            needs.push(("redis".to_owned(), "dependsOn"));
        }
        if app % 5 == 1 {
            needs.push(("monitoring".to_owned(), "CustomResourceDefinition servicemonitors.monitoring.coreos.com"));
        }
        let objects = 4 + usize::try_from(roll(12)).unwrap_or(0);
        layers.push(Layer { name, objects, apply: 60 + roll(90), settle: 700 + roll(2600), needs });
    }
    layers
}

fn id(name: &str) -> String {
    format!("layer/flux-system/{name}")
}

fn phase(name: &str, detail: &str) -> Happening {
    Happening::Phase { name: name.to_owned(), detail: detail.to_owned() }
}

fn planned(layers: &[Layer]) -> Happening {
    let mut nodes = vec![("secret/flux-system/sops-age".to_owned(), Action::Create), ("agent/flux".to_owned(), Action::Apply)];
    nodes.extend(layers.iter().map(|layer| (id(&layer.name), Action::Apply)));
    nodes.push((id("legacy"), Action::Skip));
    let mut edges = vec![("secret/flux-system/sops-age".to_owned(), "agent/flux".to_owned(), "decryption".to_owned())];
    for layer in layers {
        edges.extend(layer.needs.iter().map(|(need, reason)| (id(need), id(&layer.name), (*reason).to_owned())));
    }
    Happening::Planned {
        environment: "production".to_owned(),
        revision: "4f0c2d6a91b3e57788d0c1a2b3c4d5e6f7a8b9c0".to_owned(),
        nodes,
        edges,
    }
}

fn stand_ins(out: &mut Vec<(u64, Happening)>, now: u64) {
    let mut add = |object: &str, reason: &str| out.push((now, Happening::StandIn { object: object.to_owned(), reason: reason.to_owned() }));
    for chart in ["cert-manager", "external-secrets", "ingress-nginx", "kube-prometheus-stack", "redis"] {
        add(&format!("HelmChart {chart}"), "placeholder chart: charts from the internet cannot be fetched here");
    }
    add("CustomResourceDefinition clusters.postgresql.cnpg.io", "permissive schema: its chart cannot be fetched here");
    add("CustomResourceDefinition externalsecrets.external-secrets.io", "permissive schema: its chart cannot be fetched here");
    add("ExternalSecret databases/postgres", "Ready condition and Secret: no operator runs here");
}

/// What happens, in milliseconds since the beginning.
fn simulate(layers: &[Layer], shape: Shape, begin: u64, roll: &mut impl FnMut(u64) -> u64, out: &mut Vec<(u64, Happening)>) {
    let secret = "secret/flux-system/sops-age".to_owned();
    out.push((begin, Happening::Started { node: secret.clone(), action: Action::Create, objects: 1 }));
    out.push((begin + 12, finished(secret, Action::Create, Outcome::Ready, None)));
    let agent = "agent/flux".to_owned();
    out.push((begin + 12, Happening::Started { node: agent.clone(), action: Action::Apply, objects: 38 }));
    out.push((begin + 420, Happening::Applied { node: agent.clone(), created: 38, changed: 0, unchanged: 0 }));
    out.push((begin + 3900, finished(agent, Action::Apply, Outcome::Ready, None)));

    let mut ends: std::collections::HashMap<&str, Option<u64>> = std::collections::HashMap::new();
    let mut slots = [begin + 15; 16];
    let mut over = begin;
    for layer in layers {
        let blocked = layer.needs.iter().any(|(need, _)| ends.get(need.as_str()).is_some_and(Option::is_none));
        // Ends of its needs, in order: the waiting set shrinks with each; one that failed stays in it.
        let mut needs: Vec<(u64, &(String, &str))> =
            layer.needs.iter().map(|need| (ends.get(need.0.as_str()).copied().flatten().unwrap_or(u64::MAX), need)).collect();
        needs.sort_by_key(|(end, _)| *end);
        let node = id(&layer.name);
        let mut at = begin;
        for from in 0..needs.len() {
            let on = needs[from..].iter().map(|(_, (need, reason))| (id(need), (*reason).to_owned())).collect();
            out.push((at, Happening::Waiting { node: node.clone(), on }));
            if needs[from].0 == u64::MAX {
                break;
            }
            at = needs[from].0;
        }
        if blocked {
            let cause =
                layer.needs.iter().find(|(need, _)| ends.get(need.as_str()).is_some_and(Option::is_none)).map(|(need, _)| need.clone());
            let error = cause.map(|cause| format!("{} did not become ready", id(&cause)));
            out.push((
                ends.values().flatten().max().copied().unwrap_or(at) + 25_000,
                finished(node, Action::Apply, Outcome::Blocked, error),
            ));
            ends.insert(&layer.name, None);
            continue;
        }
        let slot = slots.iter().enumerate().min_by_key(|(_, free)| **free).map_or(0, |(slot, _)| slot);
        let start = at.max(slots[slot]) + 3 + roll(9);
        let applied = start + layer.apply;
        let fails = shape.fails && layer.name == "databases";
        let end = applied + if fails { 30_000 } else { layer.settle };
        slots[slot] = applied;
        out.push((start, Happening::Started { node: node.clone(), action: Action::Apply, objects: layer.objects }));
        out.push((applied, Happening::Applied { node: node.clone(), created: layer.objects, changed: 0, unchanged: 0 }));
        let steps = layer.objects.clamp(1, 12);
        let workloads = ["controller", "webhook", "server", "worker"];
        for step in 0..steps {
            let ready = layer.objects * step / steps;
            let workload = workloads[step % workloads.len()];
            let message = format!("Deployment {0}/{0}-{workload}: 0 of 2 replicas are available", layer.name);
            let time = applied + (end - applied) * step as u64 / steps as u64;
            out.push((time, Happening::Progress { node: node.clone(), ready, of: layer.objects, message }));
        }
        if layer.name == "external-secrets" {
            out.push((start + 20, Happening::Retried { node: node.clone(), error: "429 Too Many Requests".to_owned() }));
        }
        if layer.name == "redis" {
            let message = "StatefulSet redis/redis: image tag `latest` may not be what ran before".to_owned();
            out.push((start + 20, Happening::Warning { node: Some(node.clone()), message }));
        }
        if fails {
            let error = "Cluster databases/postgres: not ready after 30s: Ready=False (ClusterIsNotReady): PersistentVolumeClaim databases/postgres-1: \
                         waiting for a volume to be created by the external provisioner 'ebs.csi.aws.com'\n\
                         last event: ProvisioningFailed: could not create volume in EC2: UnauthorizedOperation\n\
                         next: give the role of ebs-csi-driver ec2:CreateVolume, then run the same command again";
            out.push((end, finished(node, Action::Apply, Outcome::Failed, Some(error.to_owned()))));
            ends.insert(&layer.name, None);
        } else {
            out.push((end, finished(node, Action::Apply, Outcome::Ready, None)));
            ends.insert(&layer.name, Some(end));
        }
        over = over.max(end);
    }
    out.push((begin, finished(id("legacy"), Action::Skip, Outcome::Skipped, Some("spec.suspend is true".to_owned()))));
    if shape.fails {
        over = over.max(out.iter().map(|(time, _)| *time).max().unwrap_or(over));
        out.push((over + 5, Happening::Ended { success: false, summary: "1 layer failed".to_owned() }));
        return;
    }
    out.push((over + 2, phase("handover", "Flux confirms each layer")));
    for layer in layers {
        let time = ends.get(layer.name.as_str()).copied().flatten().unwrap_or(over).max(begin + 4100) + 350 + roll(1400);
        let changed = if layer.name == "monitoring" { vec!["ConfigMap monitoring/dashboards".to_owned()] } else { Vec::new() };
        out.push((time, Happening::HandedOver { node: id(&layer.name), changed }));
    }
    let last = out.iter().map(|(time, _)| *time).max().unwrap_or(over);
    out.push((last + 8, Happening::Ended { success: true, summary: "every layer is ready and handed over".to_owned() }));
}

fn finished(node: String, action: Action, result: Outcome, error: Option<String>) -> Happening {
    Happening::Finished { node, action, result, error }
}
