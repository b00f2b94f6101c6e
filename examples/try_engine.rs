#![allow(warnings)]
use blackstart::layers::flux;
use blackstart::manifest::Resource;
use blackstart::plan::*;
use blackstart::*;
use serde_json::json;
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let chain: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let k = |name: String, dep: Option<String>| {
        let d: Vec<_> = dep.into_iter().map(|n| json!({"name": n})).collect();
        Resource {
            value: json!({"apiVersion":"kustomize.toolkit.fluxcd.io/v1","kind":"Kustomization","metadata":{"name":name,"namespace":"flux-system"},"spec":{"interval":"10m","path":"./x","prune":true,"wait":true,"sourceRef":{"kind":"GitRepository","name":"flux-system"},"dependsOn":d}}),
            origin: None,
        }
    };
    let mut layers = vec![];
    let entry = flux::layer(k("flux-system".into(), None), None).unwrap();
    let mut kids = vec![];
    for i in 0..n {
        let dep = (i % chain != 0).then(|| format!("m{:04}", i - 1));
        kids.push(k(format!("m{i:04}"), dep));
    }
    let mut eo = kids.clone();
    eo.push(Resource { value: json!({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}), origin: None });
    layers.push(read::ReadLayer { layer: entry.clone(), rendered: true, objects: eo });
    for (i, kid) in kids.iter().enumerate() {
        let l = flux::layer(kid.clone(), Some(entry.id.clone())).unwrap();
        let m = json!({"name": format!("m{i:04}"), "namespace":"bench"});
        let o = |v| Resource { value: v, origin: None };
        let objects = vec![
            o(
                json!({"apiVersion":"v1","kind":"Service","metadata":m,"spec":{"clusterIP":"None","selector":{"app":"x"},"ports":[{"port":80}]}}),
            ),
            o(json!({"apiVersion":"v1","kind":"ServiceAccount","metadata":m})),
            o(json!({"apiVersion":"v1","kind":"ConfigMap","metadata":m,"data":{"a":"b"}})),
            o(
                json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":m,"spec":{"replicas":0,"selector":{"matchLabels":{"app":m["name"]}},"template":{"metadata":{"labels":{"app":m["name"]}},"spec":{"containers":[{"name":"a","image":"a"}]}}}}),
            ),
        ];
        layers.push(read::ReadLayer { layer: l, rendered: true, objects });
    }
    let mut nodes = vec![];
    let mut edges = vec![];
    for l in &layers {
        nodes.push(Node { id: l.layer.id.node(), action: Action::Apply, owner: "flux" });
        if let Some(p) = &l.layer.parent {
            edges.push(Edge {
                from: p.node(),
                to: l.layer.id.node(),
                constraint: Constraint::AppliedBeforeStart,
                reason: "declared by".into(),
                origin: None,
            });
            edges.push(Edge {
                from: l.layer.id.node(),
                to: p.node(),
                constraint: Constraint::ReadyBeforeReady,
                reason: "wait".into(),
                origin: None,
            });
        }
        for d in l.layer.depends_on() {
            edges.push(Edge {
                from: d.node(),
                to: l.layer.id.node(),
                constraint: Constraint::ReadyBeforeStart,
                reason: "dependsOn".into(),
                origin: None,
            });
        }
    }
    let plan = Plan {
        api_version: "x",
        kind: "Plan",
        environment: "bench".into(),
        revision: "abc".into(),
        layers: vec![],
        nodes,
        edges,
        problems: vec![],
        unknowns: vec![],
    };
    let reading = read::Reading {
        revision: "abc".into(),
        entry: entry.id.clone(),
        layers,
        sources: Default::default(),
        problems: vec![],
        unknowns: vec![],
    };
    let t = std::time::Instant::now();
    let cluster = cluster::Cluster::connect(None, None).await.unwrap();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let (_s, stop) = tokio::sync::watch::channel(0u8);
    let run = execute::Run {
        mode: execute::Mode::Bootstrap,
        plan,
        reading: Arc::new(reading),
        secrets: vec![],
        stand_ins: vec![],
        cluster,
        installation: Default::default(),
        timeout: None,
        events: execute::Events::new(tx),
        stop,
    };
    let h = tokio::spawn(execute::run(run));
    let mut done = 0;
    let mut retried = 0;
    loop {
        tokio::select! {
            e = rx.recv() => { let Some(e) = e else { break };
              match e.happening { report::event::Happening::Finished{node, result, error, ..} => { done += 1; if let Some(e)=error { eprintln!("{node} {result:?} {e}"); } if done == n+1 { eprintln!("all ready {:?} retried {retried}", t.elapsed()); break } },
                report::event::Happening::Retried{error, ..} => { retried += 1; if retried < 5 { eprintln!("{error}") } }
                _ => {} } }
        }
    }
    if h.is_finished() {
        eprintln!("{:?}", h.await);
    }
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", s.lines().filter(|l| l.starts_with("VmHWM")).collect::<String>());
}
