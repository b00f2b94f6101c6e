//! `spec.checks`: what must answer when the environment is up.

use super::super::check::{Check, Dns, Endpoint, Http, Job, PATIENCE, Record};
use super::{Fields, Reader, SOURCES};
use crate::manifest::yaml::{Content, Located};
use crate::problem::nearest;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// What can be asked.
const KINDS: [&str; 4] = ["http", "dns", "tcp", "job"];
/// Longest name: a Job is called after it.
const LONGEST: usize = 40;

impl Reader<'_> {
    /// One entry; none where it does not say what is asked.
    pub(super) fn check(&mut self, node: &Located, path: &str) -> Option<Check> {
        let fields = self.fields(node, path, &["name", "timeout", "http", "dns", "tcp", "job"]);
        let name = self.required(&fields, "name");
        let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let is_label = is_plain && name.len() <= LONGEST && !name.starts_with('-') && !name.ends_with('-');
        if let (Some(node), false) = (fields.entries.get("name"), is_label) {
            self.wrong(node, &fields.name("name"), &format!("at most {LONGEST} lower-case letters, digits and `-`"));
        }
        let timeout = self.duration(&fields, "timeout").unwrap_or(PATIENCE);
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| fields.entries.contains_key(kind)).collect();
        let [kind] = kinds.as_slice() else {
            self.wrong(node, path, &format!("a check with one of {}", KINDS.join(", ")));
            return None;
        };
        let (node, path) = (fields.entries[kind], fields.name(kind));
        let endpoint = match *kind {
            "http" => Endpoint::Http(self.http(node, &path)),
            "dns" => Endpoint::Dns(self.dns(node, &path)),
            "tcp" => Endpoint::Tcp(self.tcp(node, &path)),
            _ => Endpoint::Job(self.job(node, &path)),
        };
        Some(Check { name, endpoint, timeout, origin: Some(self.origin(fields.place.0)) })
    }

    /// Each name stands for one check.
    pub(super) fn checks_named_twice(&mut self, checks: &[Check]) {
        for (index, check) in checks.iter().enumerate() {
            if let Some(other) = checks[..index].iter().find(|other| other.name == check.name && !check.name.is_empty()) {
                let place = check.origin.as_ref().map_or((1, 1), |origin| (origin.line, 1));
                let first = other.origin.as_ref().map(|origin| format!(", first in {origin}")).unwrap_or_default();
                self.problem(place, format!("spec.checks: {} stands twice{first}", check.name), None);
            }
        }
    }

    fn http(&mut self, node: &Located, path: &str) -> Http {
        let fields = self.fields(node, path, &["url", "status", "contains", "headers", "host", "ca", "insecure"]);
        let url = self.required(&fields, "url");
        if let (Some(node), false) = (fields.entries.get("url"), url.is_empty() || is_url(&url)) {
            self.wrong(node, &fields.name("url"), "a URL such as https://shop.example.com/health");
        }
        let insecure = self.truth(&fields, "insecure");
        if let (Some(node), true) = (fields.entries.get("ca"), insecure) {
            self.wrong(node, &fields.name("ca"), "left out with `insecure`, which trusts everybody");
        }
        for key in ["ca", "insecure"] {
            if let (Some(node), true) = (fields.entries.get(key), url.starts_with("http://")) {
                self.wrong(node, &fields.name(key), "left out without https");
            }
        }
        Http {
            status: self.statuses(&fields),
            contains: self.text(&fields, "contains"),
            headers: self.headers(&fields),
            host: self.text(&fields, "host"),
            ca: self.text(&fields, "ca"),
            insecure,
            url,
        }
    }

    /// One status code, or a list of them.
    fn statuses(&mut self, fields: &Fields<'_>) -> Vec<u16> {
        let Some(node) = fields.entries.get("status") else { return Vec::new() };
        let all: Vec<&Located> = match &node.content {
            Content::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let code = |node: &&Located| match &node.content {
            Content::Scalar(Value::Number(number)) => number.as_u64().and_then(|code| u16::try_from(code).ok()),
            _ => None,
        };
        let codes: Option<Vec<u16>> = all.iter().map(|node| code(node).filter(|code| (100..600).contains(code))).collect();
        match codes {
            Some(codes) if !codes.is_empty() => codes,
            _ => {
                self.wrong(node, &fields.name("status"), "a status code such as 200, or a list of them");
                Vec::new()
            }
        }
    }

    fn headers(&mut self, fields: &Fields<'_>) -> std::collections::BTreeMap<String, super::super::Given> {
        let headers = self.given(fields, "headers", &SOURCES);
        if let Some(node) = fields.entries.get("headers") {
            // RFC 9110, section 5.6.2.
            let is_token = |name: &str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
            };
            for name in headers.keys() {
                if !is_token(name) {
                    self.wrong(node, &format!("{}.{name}", fields.name("headers")), "a header's name");
                } else if name.eq_ignore_ascii_case("host") {
                    self.wrong(node, &format!("{}.{name}", fields.name("headers")), "left out; `host` beside `url` says it");
                }
            }
        }
        headers
    }

    fn dns(&mut self, node: &Located, path: &str) -> Dns {
        let fields = self.fields(node, path, &["name", "type", "values", "resolver"]);
        let record = match (fields.entries.get("type"), self.text(&fields, "type")) {
            (Some(node), Some(text)) => {
                let known = Record::ALL.into_iter().find(|(name, _)| *name == text);
                if known.is_none() {
                    let near = nearest(&text, Record::ALL.into_iter().map(|(name, _)| name));
                    let hint = near.first().map(|near| format!("did you mean `{near}`?"));
                    let message = format!("{}: must be A, AAAA, CNAME or TXT", fields.name("type"));
                    self.problem((node.line, node.column), message, hint);
                }
                known.map_or(Record::A, |(_, record)| record)
            }
            _ => Record::A,
        };
        let mut values = Vec::new();
        for (index, item) in self.list(&fields, "values").iter().enumerate() {
            let path = format!("{}[{index}]", fields.name("values"));
            match item.text().filter(|text| !text.is_empty()) {
                Some(text) => {
                    let is_address = match record {
                        Record::A => text.parse::<std::net::Ipv4Addr>().is_ok(),
                        Record::Aaaa => text.parse::<std::net::Ipv6Addr>().is_ok(),
                        Record::Cname | Record::Txt => true,
                    };
                    if !is_address && !text.contains("${") {
                        let version = if record == Record::A { 4 } else { 6 };
                        self.wrong(item, &path, &format!("an IPv{version} address, as records of type {} are", record.name()));
                    }
                    values.push(text.to_owned());
                }
                None => self.wrong(item, &path, "a text (quote numbers)"),
            }
        }
        let resolver = self.text(&fields, "resolver").and_then(|text| {
            let whole = text.parse::<SocketAddr>().ok();
            let found = whole.or_else(|| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53)));
            if found.is_none() {
                self.wrong(fields.entries["resolver"], &fields.name("resolver"), "an address such as 1.1.1.1 or 127.0.0.1:5353");
            }
            found
        });
        Dns { name: self.required(&fields, "name"), record, values, resolver }
    }

    fn tcp(&mut self, node: &Located, path: &str) -> String {
        let text = node.text().unwrap_or_default();
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0) || port.starts_with("${");
        let is_address = text.rsplit_once(':').is_some_and(|(host, port)| {
            let is_literal = host.starts_with('[') && host.ends_with(']');
            is_port(port) && !host.is_empty() && (is_literal || !host.contains(':')) && !host.contains(['/', ' '])
        });
        if !is_address && !text.contains("${") {
            self.wrong(node, path, "a host and a port such as db.example.com:5432");
        }
        text.to_owned()
    }

    fn job(&mut self, node: &Located, path: &str) -> Job {
        let fields = self.fields(node, path, &["namespace", "image", "command", "env", "serviceAccountName"]);
        Job {
            namespace: self.required(&fields, "namespace"),
            image: self.required(&fields, "image"),
            command: self.words(&fields, "command").unwrap_or_default(),
            env: if fields.entries.contains_key("env") { self.texts(&fields, "env") } else { std::collections::BTreeMap::new() },
            service_account_name: self.text(&fields, "serviceAccountName"),
        }
    }

    /// `true` or `false`; false where absent.
    fn truth(&mut self, fields: &Fields<'_>, key: &str) -> bool {
        let Some(node) = fields.entries.get(key) else { return false };
        if let Content::Scalar(Value::Bool(truth)) = &node.content {
            return *truth;
        }
        self.wrong(node, &fields.name(key), "true or false");
        false
    }
}

/// Whether it can be asked, once its variables are known.
fn is_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return url.starts_with("${") };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_known = url.contains("${") || url.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    ["http", "https"].contains(&scheme) && !host.is_empty() && is_known
}

#[cfg(test)]
mod tests {
    use super::super::super::{Given, SecretSource, parse};
    use super::*;
    use std::time::Duration;

    fn whole(checks: &str) -> String {
        super::super::trying::whole(&format!("  checks:\n{checks}"))
    }

    fn problems(checks: &str) -> Vec<String> {
        super::super::trying::problems(&format!("  checks:\n{checks}"))
    }

    #[test]
    fn checks_with_all_their_fields_are_read() {
        let text = whole(concat!(
            "    - name: shop\n      timeout: 90s\n      http:\n        url: https://10.0.0.1/health\n        status: [200, 204]\n",
            "        contains: ok\n        headers: {Accept: text/plain, Authorization: {from: {env: TOKEN}}}\n        host: shop.example.com\n",
            "        ca: ca.pem\n",
            "    - {name: zone, dns: {name: shop.example.com, type: AAAA, values: ['::1'], resolver: '127.0.0.1:5353'}}\n",
            "    - {name: any, dns: {name: shop.example.com, resolver: 1.1.1.1}}\n",
            "    - {name: database, tcp: 'db.example.com:5432'}\n",
            "    - {name: orders, job: {namespace: shop, image: 'curl:8', command: [curl, -f, 'http://api'], env: {A: b}, serviceAccountName: probe}}\n",
        ));
        let checks = parse(&text, "e.yaml").expect("valid").spec.checks;
        let kinds: Vec<(&str, &str)> = checks.iter().map(|check| (check.name.as_str(), check.kind())).collect();
        assert_eq!(kinds, [("shop", "http"), ("zone", "dns"), ("any", "dns"), ("database", "tcp"), ("orders", "job")]);
        assert_eq!((checks[0].timeout, checks[1].timeout), (Duration::from_secs(90), PATIENCE));
        let Endpoint::Http(http) = &checks[0].endpoint else { panic!("http") };
        assert_eq!((http.status.as_slice(), http.contains.as_deref(), http.insecure), (&[200, 204][..], Some("ok"), false));
        assert_eq!(http.headers["Authorization"], Given::Secret(SecretSource::Env("TOKEN".into())));
        let Endpoint::Dns(dns) = &checks[1].endpoint else { panic!("dns") };
        assert_eq!((dns.record, dns.resolver), (Record::Aaaa, Some(([127, 0, 0, 1], 5353).into())));
        let Endpoint::Dns(dns) = &checks[2].endpoint else { panic!("dns") };
        assert_eq!((dns.record, dns.resolver), (Record::A, Some(([1, 1, 1, 1], 53).into())));
        assert_eq!(checks[4].origin.as_ref().map(|origin| origin.line), Some(18));
    }

    #[test]
    fn all_that_is_wrong_with_checks_is_told_at_once() {
        let found = problems(concat!(
            "    - {name: Shop, http: {url: shop.example.com, status: ok, insecure: yes please}}\n",
            "    - {name: b, http: {}}\n",
            "    - {name: b, http: {url: 'http://a', ca: x, headers: {Host: b, 'a b': c}}, tcp: 'a:1'}\n",
            "    - {name: c, http: {url: 'http://a', ca: x, headers: {Host: b, 'a b': c}}}\n",
            "    - {name: d, dns: {name: a, type: MX, values: [x], resolver: dns.google}}\n",
            "    - {name: e, tcp: 'http://a'}\n",
            "    - {name: e, job: {image: a, commnd: [x]}, timeout: soon}\n",
            "    - {tpc: 'a:1'}\n",
        ));
        assert_eq!(
            found,
            [
                "6: spec.checks[0].name: must be at most 40 lower-case letters, digits and `-`",
                "6: spec.checks[0].http.url: must be a URL such as https://shop.example.com/health",
                "6: spec.checks[0].http.insecure: must be true or false",
                "6: spec.checks[0].http.status: must be a status code such as 200, or a list of them",
                "7: spec.checks[1].http.url: is missing",
                "8: spec.checks[2]: must be a check with one of http, dns, tcp, job",
                "9: spec.checks[3].http.ca: must be left out without https",
                "9: spec.checks[3].http.headers.Host: must be left out; `host` beside `url` says it",
                "9: spec.checks[3].http.headers.a b: must be a header's name",
                "10: spec.checks[4].dns.type: must be A, AAAA, CNAME or TXT",
                "10: spec.checks[4].dns.values[0]: must be an IPv4 address, as records of type A are",
                "10: spec.checks[4].dns.resolver: must be an address such as 1.1.1.1 or 127.0.0.1:5353",
                "11: spec.checks[5].tcp: must be a host and a port such as db.example.com:5432",
                "12: spec.checks[6].timeout: must be a time such as 15m, 90s or 1h30m",
                "12: spec.checks[6].job.commnd: unknown field (did you mean `command`?)",
                "12: spec.checks[6].job.namespace: is missing",
                "13: spec.checks[7].tpc: unknown field (did you mean `tcp`?)",
                "13: spec.checks[7].name: is missing",
                "13: spec.checks[7]: must be a check with one of http, dns, tcp, job",
                "12: spec.checks: e stands twice, first in blackstart.yaml:11",
            ]
        );
    }
}
