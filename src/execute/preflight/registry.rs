//! Images and charts: whether a registry has them (OCI distribution specification, with the token flow of its anonymous users), whether a
//! repository's index names them.

use crate::execute::web::{Web, scheme};
use crate::manifest::yaml;
use crate::preflight::images::{Chart, Pulled, Reference};
use crate::preflight::{Check, Group};
use futures::stream::{StreamExt as _, iter};
use http::header::WWW_AUTHENTICATE;
use http::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;

/// Questions under way at once.
const AT_ONCE: usize = 16;
/// What a manifest may be.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Whether something is there.
enum Has {
    Yes,
    No(String),
    /// Not for everyone: whoever pulls it has credentials, or should have.
    Closed(String),
    Unknown(String),
}

/// All images of the layers.
pub(super) async fn images(web: &Web, images: BTreeMap<String, Pulled>) -> Vec<Check> {
    iter(images)
        .map(|(image, pulled)| async move {
            let Some(reference) = Reference::parse(&image) else {
                return Check::warning(Group::Images, &image, "is no reference that a runtime could read").at(pulled.origin.clone());
            };
            let has = if reference.is_ecr() {
                Has::Unknown("ECR answers the nodes' own role only".to_owned())
            } else {
                manifest(web, &reference).await
            };
            told(Group::Images, image, has, &pulled)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// All charts of the layers; each index is fetched once.
pub(super) async fn charts(web: &Web, charts: Vec<(Chart, Pulled)>) -> Vec<Check> {
    let mut indexes: BTreeMap<String, Vec<(String, Option<String>, Pulled)>> = BTreeMap::new();
    let mut artifacts = Vec::new();
    for (chart, pulled) in charts {
        match chart {
            Chart::Oci(reference) => artifacts.push((reference, pulled)),
            Chart::Indexed { url, chart, version } => indexes.entry(url).or_default().push((chart, version, pulled)),
        }
    }
    let artifacts = iter(artifacts).map(|(reference, pulled)| async move {
        let name = format!("oci://{}/{}:{}", reference.registry, reference.repository, reference.tag);
        told(Group::Charts, name, manifest(web, &reference).await, &pulled)
    });
    let from_lists = iter(indexes).map(|(url, charts)| async move {
        let index = index(web, &url).await;
        let one = |(chart, version, pulled): (String, Option<String>, Pulled)| {
            let name = format!("{chart} {} of {url}", version.as_deref().unwrap_or("(newest)"));
            let has = match &index {
                Ok(index) => listed(index, &chart, version.as_deref()),
                Err(why) => Has::Unknown(why.clone()),
            };
            told(Group::Charts, name, has, &pulled)
        };
        charts.into_iter().map(one).collect::<Vec<_>>()
    });
    let (mut checks, more): (Vec<Check>, Vec<Vec<Check>>) =
        futures::future::join(artifacts.buffer_unordered(AT_ONCE).collect(), from_lists.buffer_unordered(AT_ONCE).collect()).await;
    checks.extend(more.into_iter().flatten());
    checks
}

fn told(group: Group, name: String, has: Has, pulled: &Pulled) -> Check {
    let by = &pulled.by;
    let check = match has {
        Has::Yes => Check::ok(group, name, "is there"),
        Has::No(why) => {
            let what =
                if group == Group::Images { "push it again, or name another image" } else { "publish it again, or name another version" };
            Check::blocker(group, name, format!("{why}; {by} needs it")).fix(what)
        }
        Has::Closed(_) if pulled.secret => Check::not_checked(group, name, "wants credentials, which its Secret brings"),
        Has::Closed(why) => Check::warning(group, name, format!("{why}, and {by} brings no credentials"))
            .fix("name a pull secret, or check that the nodes have credentials"),
        Has::Unknown(why) => Check::not_checked(group, name, why),
    };
    check.at(pulled.origin.clone())
}

async fn manifest(web: &Web, reference: &Reference) -> Has {
    let Reference { registry, repository, tag } = reference;
    let url = format!("{}://{registry}/v2/{repository}/manifests/{tag}", scheme(registry));
    let mut authorization: Option<String> = None;
    loop {
        let mut headers = vec![("accept", MANIFESTS)];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let answer = match web.ask(Method::HEAD, &url, &headers).await {
            Ok(answer) => answer,
            Err(why) => return Has::Unknown(why),
        };
        match answer.status {
            status if status.is_success() => return Has::Yes,
            StatusCode::NOT_FOUND => return Has::No(format!("{registry} does not have it")),
            StatusCode::UNAUTHORIZED if authorization.is_none() => {
                let challenge = answer.header(WWW_AUTHENTICATE).unwrap_or_default();
                match token(web, challenge).await {
                    Ok(Some(token)) => authorization = Some(format!("Bearer {token}")),
                    Ok(None) => return Has::Closed(format!("{registry} wants credentials")),
                    Err(why) => return Has::Unknown(why),
                }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Has::Closed(format!("{registry} does not show it to everyone (or does not have it)"));
            }
            StatusCode::TOO_MANY_REQUESTS => return Has::Unknown(format!("{registry} limits the number of questions")),
            status => return Has::Unknown(format!("{registry} answers {status}")),
        }
    }
}

/// A token for anonymous users; none where there is none for them.
async fn token(web: &Web, challenge: &str) -> Result<Option<String>, String> {
    let Some((scheme, rest)) = challenge.split_once(' ') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let parameters = parameters(rest);
    let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let Some(realm) = get("realm") else { return Ok(None) };
    let query: Vec<String> = ["service", "scope"].iter().filter_map(|name| Some(format!("{name}={}", encoded(get(name)?)))).collect();
    let separator = if realm.contains('?') { '&' } else { '?' };
    let answer = web.ask(Method::GET, &format!("{realm}{separator}{}", query.join("&")), &[]).await?;
    if !answer.status.is_success() {
        return Ok(None);
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| "the registry's token cannot be read".to_owned())?;
    Ok(["token", "access_token"].iter().find_map(|key| body.get(key)?.as_str().map(str::to_owned)))
}

/// `realm="a",scope="b,c"`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key.trim().to_lowercase(), value.to_owned()));
        rest = next.trim_start_matches([',', ' ']);
    }
    found
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("%{byte:02X}"));
        }
        out
    })
}

async fn index(web: &Web, url: &str) -> Result<Value, String> {
    let answer = web.ask(Method::GET, &format!("{}/index.yaml", url.trim_end_matches('/')), &[]).await?;
    if !answer.status.is_success() {
        return Err(format!("{url}/index.yaml: {}", answer.status));
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let parsed = tokio::task::spawn_blocking(move || yaml::documents(&text)).await.map_err(|_| "reading was stopped".to_owned())?;
    let first = parsed.map_err(|error| format!("{url}/index.yaml is no YAML (line {})", error.line))?.into_iter().next();
    first.map(|document| document.value).ok_or_else(|| format!("{url}/index.yaml is empty"))
}

fn listed(index: &Value, chart: &str, version: Option<&str>) -> Has {
    let Some(versions) = index.pointer("/entries").and_then(|entries| entries.get(chart)).and_then(Value::as_array) else {
        return Has::No("the repository has no chart of this name".to_owned());
    };
    let plain = |text: &str| text.trim_start_matches('v').to_owned();
    let is_there = |wanted: &str| versions.iter().filter_map(|one| one.get("version")?.as_str()).any(|one| plain(one) == plain(wanted));
    match version {
        Some(wanted) if !is_there(wanted) => {
            Has::No(format!("the repository has {} other versions of it, and not this one", versions.len()))
        }
        _ => Has::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_may_have_commas_in_its_scope() {
        let all = parameters(r#"realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#);
        let values: Vec<&str> = all.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["https://auth.docker.io/token", "registry.docker.io", "repository:a/b:pull,push"]);
        assert_eq!(encoded("a b&c"), "a%20b%26c");
    }
}
