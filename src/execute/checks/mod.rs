//! Asks the endpoints that an environment lists, each until it answers as it should or its time is over: they come up after the objects that make
//! them. Writes nothing but the Job of a check that is one, and removes that again.

mod job;

use super::secret::{self, fetch};
use super::web::{Trust, Web};
use super::{Below, dns};
use crate::cluster::Cluster;
use crate::environment::Given;
use crate::environment::check::{self, Dns, Endpoint, Http, Record};
use crate::layers::outputs;
use crate::read;
use crate::report::event::{Check, Verdict};
use futures::future::join_all;
use http::Method;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Longest wait for one answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Shortest wait for one answer.
const LEAST: Duration = Duration::from_secs(1);
/// First pause between two questions; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What to do where one does not answer.
const FIX: &str = "look at what should answer there; to ask again: blackstart prove";
/// Why an endpoint is not asked in a rehearsal.
pub const REAL: &str = "not asked in a rehearsal, since it would reach what is real";

/// What it takes to ask.
#[derive(Clone, Debug)]
pub struct Asking<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Values that are known only when something is made.
    pub below: Option<&'a Below>,
    /// Folder of the environment's file.
    pub base: &'a Path,
    /// In a sandbox.
    pub rehearsal: bool,
    /// How often the user asked to stop.
    pub stop: watch::Receiver<u8>,
}

/// Asks all of them at once; the answers in the order of the checks.
pub async fn ask(checks: &[check::Check], asking: Asking<'_>) -> Vec<Check> {
    join_all(checks.iter().map(|check| one(check, asking.clone()))).await
}

/// Whether a check asks somebody outside of this machine and of the cluster.
pub fn is_outside(check: &check::Check, below: Option<&Below>) -> bool {
    // What a rehearsal only makes up nobody can be asked with.
    let Ok(check) = filled(check, below) else { return true };
    let host = match &check.endpoint {
        Endpoint::Http(http) => http.url.parse::<http::Uri>().ok().and_then(|uri| Some(uri.host()?.to_owned())),
        Endpoint::Dns(dns) => dns.resolver.map(|resolver| resolver.ip().to_string()),
        Endpoint::Tcp(address) => address.rsplit_once(':').map(|(host, _)| host.to_owned()),
        Endpoint::Job(_) => return false,
    };
    !host.is_some_and(|host| crate::host::is_loopback(&host))
}

/// Why there was no right answer.
enum Wrong {
    /// There may be one later.
    Yet(String),
    /// There never will be.
    Ever(String),
}

async fn one(check: &check::Check, asking: Asking<'_>) -> Check {
    let mut stop = asking.stop.clone();
    let answer = async {
        let check = filled(check, asking.below)?;
        if let Endpoint::Job(job) = &check.endpoint {
            return job::run(&check, job, &asking).await;
        }
        let ask = Ask::new(&check.endpoint, &asking).await?;
        tokio::select! {
            answer = ask.until(check.timeout) => answer,
            () = stopped(&mut stop) => Err("interrupted before there was an answer".to_owned()),
        }
    };
    let (verdict, text) = match answer.await {
        Ok(text) => (Verdict::Held, text),
        Err(text) => (Verdict::Failed, text),
    };
    let place = check.origin.as_ref().filter(|_| verdict == Verdict::Failed).map(|origin| format!(" ({origin})")).unwrap_or_default();
    Check {
        name: check.kind().to_owned(),
        verdict,
        detail: format!("{}{place}: {text}", check.name),
        fix: (verdict == Verdict::Failed).then(|| FIX.to_owned()),
    }
}

/// Returns when the user has asked to stop; never, where nobody can.
pub async fn stopped(stop: &mut watch::Receiver<u8>) {
    if stop.wait_for(|count| *count > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A check with the values that its marks stand for.
fn filled(check: &check::Check, below: Option<&Below>) -> Result<check::Check, String> {
    let mut check = check.clone();
    for text in check.texts() {
        *text = outputs::paste(text, |output| secret::given(below, output));
        if let Some(output) = outputs::in_text(text).first() {
            return Err(secret::unknown(output));
        }
    }
    Ok(check)
}

/// A question that can be put again and again.
enum Ask<'a> {
    Http { web: Web, http: &'a Http, headers: Vec<(&'a str, Zeroizing<String>)> },
    Dns(&'a Dns),
    Tcp(&'a str),
}

impl<'a> Ask<'a> {
    async fn new(endpoint: &'a Endpoint, asking: &Asking<'_>) -> Result<Self, String> {
        let http = match endpoint {
            Endpoint::Http(http) => http,
            Endpoint::Dns(dns) => return Ok(Self::Dns(dns)),
            Endpoint::Tcp(address) => return Ok(Self::Tcp(address)),
            Endpoint::Job(_) => return Err("is no question".to_owned()),
        };
        let mut headers = Vec::new();
        for (name, given) in &http.headers {
            let value = match given {
                Given::Text(text) => Zeroizing::new(text.clone()),
                Given::Secret(source) => {
                    let cloud = asking.below.and_then(|below| below.cloud.as_deref());
                    let value = fetch(source, asking.base, cloud).await;
                    let value = value.map_err(|error| format!("the value of its header {name} cannot be had from {error}"))?;
                    Zeroizing::new(value.trim_end().to_owned())
                }
            };
            // The error of the HTTP library could show it.
            if http::HeaderValue::from_str(&value).is_err() {
                return Err(format!("the value of its header {name} holds characters that no header may have"));
            }
            headers.push((name.as_str(), value));
        }
        headers.extend(http.host.iter().map(|host| ("host", Zeroizing::new(host.clone()))));
        let name = http.host.as_ref().map(|host| host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned());
        let trust = Trust { ca: http.ca.as_ref().map(|ca| read::place(ca, asking.base)), insecure: http.insecure, name };
        Ok(Self::Http { web: Web::trusting(trust)?, http, headers })
    }

    /// Until there is a right answer, or the time is over.
    async fn until(&self, timeout: Duration) -> Result<String, String> {
        let (deadline, mut pause, mut times) = (Instant::now() + timeout, FIRST_PAUSE, 0_u32);
        loop {
            times += 1;
            // The last question is put at the very end, and may be answered.
            let limit = deadline.min(Instant::now() + ATTEMPT).max(Instant::now() + LEAST);
            let late = |_| Err(Wrong::Yet(format!("{} does not answer", self.who())));
            let why = match tokio::time::timeout_at(limit, self.once()).await.unwrap_or_else(late) {
                Ok(answer) => return Ok(answer),
                Err(Wrong::Ever(why)) => return Err(why),
                Err(Wrong::Yet(why)) => why,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = timeout.as_secs().max(1);
                return Err(format!("{why}; asked {times} times within {seconds} s"));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn who(&self) -> String {
        match self {
            Self::Http { http, .. } => http.url.clone(),
            Self::Dns(dns) => {
                dns.resolver.map_or_else(|| "the resolver of this machine".to_owned(), |resolver| format!("resolver {resolver}"))
            }
            Self::Tcp(address) => (*address).to_owned(),
        }
    }

    async fn once(&self) -> Result<String, Wrong> {
        match self {
            Self::Http { web, http, headers } => {
                let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                get(web, http, &headers).await
            }
            Self::Dns(dns) => {
                let found = resolve(dns).await.map_err(Wrong::Yet)?;
                compare(dns, &found).map_err(Wrong::Yet)
            }
            Self::Tcp(address) => match TcpStream::connect(*address).await {
                Ok(_) => Ok(format!("{address} accepts connections")),
                Err(error) => Err(Wrong::Yet(format!("{address} cannot be reached: {error}"))),
            },
        }
    }
}

async fn get(web: &Web, http: &Http, headers: &[(&str, &str)]) -> Result<String, Wrong> {
    if http.url.parse::<http::Uri>().is_err() {
        return Err(Wrong::Ever(format!("{} is no URL", http.url)));
    }
    let answer = web.once(Method::GET, &http.url, headers).await.map_err(Wrong::Yet)?;
    let (url, code) = (&http.url, answer.status.as_u16());
    let (is_right, wanted) = if http.status.is_empty() {
        ((200..400).contains(&code), "200 to 399".to_owned())
    } else {
        (http.status.contains(&code), http.status.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "))
    };
    if !is_right {
        return Err(Wrong::Yet(format!("{url} answers {code}, not {wanted}")));
    }
    match &http.contains {
        Some(text) if !String::from_utf8_lossy(&answer.body).contains(text) => {
            Err(Wrong::Yet(format!("{url} answers {code}, but its body does not hold `{text}`")))
        }
        Some(text) => Ok(format!("{url} answers {code} with `{text}`")),
        None => Ok(format!("{url} answers {code}")),
    }
}

async fn resolve(dns: &Dns) -> Result<Vec<String>, String> {
    let is_address = matches!(dns.record, Record::A | Record::Aaaa);
    let resolver = match dns.resolver {
        Some(resolver) => resolver,
        // As every program of this machine would, with its hosts file and search domains.
        None if is_address => {
            let found = tokio::net::lookup_host((dns.name.as_str(), 0)).await;
            let found = found.map_err(|error| format!("{} cannot be resolved: {error}", dns.name))?;
            let mut found: Vec<String> =
                found.map(|found| found.ip()).filter(|ip| ip.is_ipv4() == (dns.record == Record::A)).map(|ip| ip.to_string()).collect();
            found.sort();
            found.dedup();
            return Ok(found);
        }
        None => dns::system().ok_or("this machine has no resolver (/etc/resolv.conf); name one as `resolver`")?,
    };
    let record = match dns.record {
        Record::A => dns::A,
        Record::Aaaa => dns::AAAA,
        Record::Cname => dns::CNAME,
        Record::Txt => dns::TXT,
    };
    dns::ask(resolver, &dns.name, record).await
}

/// What a resolver has said against what it should say.
fn compare(dns: &Dns, found: &[String]) -> Result<String, String> {
    let plain = |text: &str| match dns.record {
        Record::Txt => text.to_owned(),
        Record::Cname => text.trim_end_matches('.').to_lowercase(),
        Record::A | Record::Aaaa => text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_string()),
    };
    let question = format!("{} {}", dns.name, dns.record.name());
    let asked = dns.resolver.map(|resolver| format!(" at {resolver}")).unwrap_or_default();
    if found.is_empty() {
        return Err(format!("{question}{asked}: there is no such record"));
    }
    let has = |wanted: &&String| found.iter().any(|one| plain(one) == plain(wanted));
    let missing: Vec<&str> = dns.values.iter().filter(|wanted| !has(wanted)).map(String::as_str).collect();
    let found = found.join(", ");
    if missing.is_empty() {
        Ok(format!("{question}{asked} is {found}"))
    } else {
        Err(format!("{question}{asked} is {found}, without {}", missing.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(endpoint: Endpoint) -> check::Check {
        check::Check { name: "x".into(), endpoint, timeout: Duration::from_secs(1), origin: None }
    }

    #[test]
    fn a_rehearsal_asks_nobody_outside() {
        let http = |url: &str| check(Endpoint::Http(Http { url: url.into(), ..Http::default() }));
        let dns = |resolver: Option<&str>| {
            let resolver = resolver.map(|text| text.parse().expect("an address"));
            check(Endpoint::Dns(Dns { name: "localhost".into(), record: Record::A, values: Vec::new(), resolver }))
        };
        let outside = [
            http("https://shop.example.com/"),
            http("https://localhost.example.com/"),
            dns(None),
            dns(Some("1.1.1.1:53")),
            check(Endpoint::Tcp("10.0.0.1:5432".into())),
        ];
        assert!(outside.iter().all(|check| is_outside(check, None)));
        let inside = [
            http("http://127.0.0.1:8080/health"),
            http("https://[::1]/"),
            dns(Some("127.0.0.1:5353")),
            check(Endpoint::Tcp("localhost:5432".into())),
            check(Endpoint::Job(check::Job::default())),
        ];
        assert!(!inside.iter().any(|check| is_outside(check, None)));
    }

    #[test]
    fn records_are_compared_as_dns_does() {
        let dns = |record, values: &[&str]| Dns {
            name: "a.example".into(),
            record,
            values: values.iter().map(|&value| value.to_owned()).collect(),
            resolver: None,
        };
        let found = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            compare(&dns(Record::Cname, &["B.example."]), &found(&["b.example"])).expect("the same"),
            "a.example CNAME is b.example"
        );
        assert!(compare(&dns(Record::Aaaa, &["2001:DB8::0:1"]), &found(&["2001:db8::1"])).is_ok());
        assert_eq!(
            compare(&dns(Record::A, &["10.0.0.1", "10.0.0.3"]), &found(&["10.0.0.1", "10.0.0.2"])).expect_err("one is missing"),
            "a.example A is 10.0.0.1, 10.0.0.2, without 10.0.0.3"
        );
        assert!(compare(&dns(Record::Txt, &["V=1"]), &found(&["v=1"])).is_err(), "texts are compared as they are");
        assert!(compare(&dns(Record::A, &[]), &[]).is_err(), "nothing is no answer");
    }
}
