//! `spec.checks`: what must answer when the environment is up.

use super::Given;
use crate::problem::Origin;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest that an answer is waited for without a `timeout`: load balancers and DNS come after the objects.
pub const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// One entry of `spec.checks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub endpoint: Endpoint,
    /// How long the right answer is waited for.
    pub timeout: Duration,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A web server.
    Http(Http),
    /// A resolver.
    Dns(Dns),
    /// Whoever listens at `host:port`.
    Tcp(String),
    /// The cluster itself: a program that runs in it once.
    Job(Job),
}

/// A GET; redirects are answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// `http://` or `https://`.
    pub url: String,
    /// The status codes that are right; 200 to 399 where empty.
    pub status: Vec<u16>,
    /// What the body must hold.
    pub contains: Option<String>,
    /// Headers of the request.
    pub headers: BTreeMap<String, Given>,
    /// The host that is asked for, where the URL only says who is asked: before DNS leads there.
    pub host: Option<String>,
    /// PEM file with the only certificate authorities that are trusted.
    pub ca: Option<String>,
    /// Any certificate is taken.
    pub insecure: bool,
}

/// A question to a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Name.
    pub name: String,
    /// Type of the records.
    pub record: Record,
    /// Values that must be among the answers; any answer will do where empty.
    pub values: Vec<String>,
    /// Who is asked; the machine's own resolver where absent.
    pub resolver: Option<SocketAddr>,
}

/// Types of DNS records that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses.
    #[default]
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
    /// Text.
    Txt,
}

impl Record {
    /// All of them, by the names that people write.
    pub const ALL: [(&str, Self); 4] = [("A", Self::A), ("AAAA", Self::Aaaa), ("CNAME", Self::Cname), ("TXT", Self::Txt)];

    /// As people write it.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, record)| *record == self).map_or("", |(name, _)| name)
    }
}

/// A Kubernetes Job of one Pod that must complete; it is removed afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Namespace.
    pub namespace: String,
    /// Image.
    pub image: String,
    /// Program and arguments; the image's own where empty.
    pub command: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// ServiceAccount; the namespace's default where absent.
    pub service_account_name: Option<String>,
}

/// What must hold, for people.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(http) => write!(f, "{} answers", http.url),
            Self::Dns(dns) if dns.values.is_empty() => write!(f, "{} has a record of type {}", dns.name, dns.record.name()),
            Self::Dns(dns) => write!(f, "{} {} is {}", dns.name, dns.record.name(), dns.values.join(", ")),
            Self::Tcp(address) => write!(f, "{address} accepts connections"),
            Self::Job(job) => write!(f, "a Job of {} completes in {}", job.image, job.namespace),
        }
    }
}

impl Check {
    /// In a word: `http`, `dns`, `tcp`, `job`.
    pub fn kind(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Http(_) => "http",
            Endpoint::Dns(_) => "dns",
            Endpoint::Tcp(_) => "tcp",
            Endpoint::Job(_) => "job",
        }
    }

    /// Texts that may name variables.
    pub fn texts(&mut self) -> Vec<&mut String> {
        match &mut self.endpoint {
            Endpoint::Http(http) => {
                let headers = http.headers.values_mut().filter_map(|given| match given {
                    Given::Text(text) => Some(text),
                    Given::Secret(_) => None,
                });
                [&mut http.url].into_iter().chain(http.contains.as_mut()).chain(http.host.as_mut()).chain(headers).collect()
            }
            Endpoint::Dns(dns) => [&mut dns.name].into_iter().chain(&mut dns.values).collect(),
            Endpoint::Tcp(address) => vec![address],
            Endpoint::Job(job) => [&mut job.image].into_iter().chain(&mut job.command).chain(job.env.values_mut()).collect(),
        }
    }

    /// Whether AWS holds something that it is asked with.
    pub fn needs_account(&self) -> bool {
        let Endpoint::Http(http) = &self.endpoint else { return false };
        http.headers.values().any(|given| matches!(given, Given::Secret(source) if source.is_in_aws()))
    }
}
