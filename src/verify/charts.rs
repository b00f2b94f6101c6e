//! Which API groups well-known charts bring, since a chart that is not in Git cannot be looked into. As data.

/// Chart, and the groups of the kinds that it (or what it starts) defines. From the charts' own `crds` folders and templates.
const CHARTS: &[(&str, &[&str])] = &[
    ("actions-runner-controller", &["actions.summerwind.dev"]),
    ("argo-cd", &["argoproj.io"]),
    ("argo-events", &["argoproj.io"]),
    ("argo-rollouts", &["argoproj.io"]),
    ("argo-workflows", &["argoproj.io"]),
    ("aws-load-balancer-controller", &["elbv2.k8s.aws", "gateway.k8s.aws"]),
    ("base", &["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"]),
    ("ceph-csi-operator", &["csi.ceph.io"]),
    ("cert-manager", &["cert-manager.io", "acme.cert-manager.io"]),
    ("cilium", &["cilium.io"]),
    ("cloudnative-pg", &["postgresql.cnpg.io"]),
    ("cluster-api-operator", &["operator.cluster.x-k8s.io"]),
    ("crossplane", &["apiextensions.crossplane.io", "pkg.crossplane.io", "secrets.crossplane.io"]),
    ("dragonfly-operator", &["dragonflydb.io"]),
    ("eck-operator", &["elasticsearch.k8s.elastic.co", "kibana.k8s.elastic.co", "beat.k8s.elastic.co", "agent.k8s.elastic.co"]),
    ("external-dns", &["externaldns.k8s.io"]),
    ("external-secrets", &["external-secrets.io", "generators.external-secrets.io"]),
    ("flux-operator", &["fluxcd.controlplane.io"]),
    ("gateway-helm", &["gateway.envoyproxy.io", "gateway.networking.k8s.io"]),
    ("gha-runner-scale-set-controller", &["actions.github.com"]),
    ("grafana-operator", &["grafana.integreatly.org"]),
    ("karpenter", &["karpenter.sh", "karpenter.k8s.aws"]),
    ("karpenter-crd", &["karpenter.sh", "karpenter.k8s.aws"]),
    ("keda", &["keda.sh", "eventing.keda.sh"]),
    ("kube-prometheus-stack", &["monitoring.coreos.com"]),
    ("kyverno", &["kyverno.io", "policies.kyverno.io", "reports.kyverno.io", "wgpolicyk8s.io"]),
    ("linkerd-crds", &["linkerd.io", "policy.linkerd.io"]),
    ("longhorn", &["longhorn.io"]),
    ("mariadb-operator-crds", &["k8s.mariadb.com"]),
    ("metallb", &["metallb.io"]),
    ("multus", &["k8s.cni.cncf.io"]),
    ("node-feature-discovery", &["nfd.k8s-sigs.io"]),
    ("opentelemetry-operator", &["opentelemetry.io"]),
    ("plugin-barman-cloud", &["barmancloud.cnpg.io"]),
    ("postgres-operator", &["acid.zalan.do"]),
    ("prometheus-operator-crds", &["monitoring.coreos.com"]),
    ("rook-ceph", &["ceph.rook.io", "objectbucket.io", "csi.ceph.io"]),
    ("sealed-secrets", &["bitnami.com"]),
    ("secrets-store-csi-driver", &["secrets-store.csi.x-k8s.io"]),
    ("silence-operator", &["observability.giantswarm.io", "monitoring.giantswarm.io"]),
    ("snapshot-controller", &["snapshot.storage.k8s.io", "groupsnapshot.storage.k8s.io"]),
    ("strimzi-kafka-operator", &["kafka.strimzi.io", "core.strimzi.io"]),
    ("traefik", &["traefik.io", "hub.traefik.io"]),
    ("traefik-crds", &["traefik.io", "hub.traefik.io", "gateway.networking.k8s.io"]),
    ("trust-manager", &["trust.cert-manager.io"]),
    ("vault-secrets-operator", &["secrets.hashicorp.com"]),
    ("velero", &["velero.io"]),
    ("victoria-metrics-k8s-stack", &["operator.victoriametrics.com"]),
    ("victoria-metrics-operator", &["operator.victoriametrics.com"]),
    ("volsync", &["volsync.backube"]),
];

/// EKS add-ons, and the groups of the kinds that they define.
const ADDONS: &[(&str, &[&str])] = &[
    ("adot", &["opentelemetry.io"]),
    ("aws-secrets-store-csi-driver-provider", &["secrets-store.csi.x-k8s.io"]),
    ("cert-manager", &["cert-manager.io", "acme.cert-manager.io"]),
    ("external-dns", &["externaldns.k8s.io"]),
    ("snapshot-controller", &["snapshot.storage.k8s.io"]),
];

/// Groups that an EKS add-on brings.
pub(super) fn of_addon(name: &str) -> &'static [&'static str] {
    ADDONS.iter().find(|(addon, _)| *addon == name).map_or(&[], |(_, groups)| *groups)
}

/// Whether a chart brings the kinds of a group: by the table, as ACK names its charts, or because the group is called after the chart.
pub(super) fn brings(chart: &str, group: &str) -> bool {
    if let Some((_, groups)) = CHARTS.iter().find(|(name, _)| *name == chart) {
        return groups.contains(&group);
    }
    if let Some(service) = chart.strip_suffix("-chart") {
        return group.strip_suffix(".services.k8s.aws") == Some(service);
    }
    let name =
        chart.strip_suffix("-operator").or_else(|| chart.strip_suffix("-crds")).or_else(|| chart.strip_suffix("-crd")).unwrap_or(chart);
    name.len() >= 4 && group.split('.').any(|label| label == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_brings_what_the_table_says_or_what_is_called_after_it() {
        assert!(
            brings("cert-manager", "cert-manager.io")
                && brings("ec2-chart", "ec2.services.k8s.aws")
                && brings("tuppr", "tuppr.example.com")
        );
        assert!(!brings("cert-manager", "trust.cert-manager.io") && !brings("ec2-chart", "s3.services.k8s.aws") && !brings("echo", "x.io"));
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(CHARTS.is_sorted_by_key(|(name, _)| *name));
    }
}
