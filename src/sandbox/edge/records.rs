//! moto takes a DNS record that was deleted for one that is still there, as soon as any other of its zone comes after it by name.

use super::call::{Answer, Asked};
use super::moto::{Moto, texts};
use bytes::Bytes;
use http::{Method, Uri};

/// The answer to a record that moto wrongly refuses; none where it is there, or was refused for another reason.
pub(super) async fn again(asked: &Asked, refused: &Answer, moto: &Moto) -> Result<Option<Answer>, String> {
    let path = asked.uri.path().trim_end_matches('/');
    let is_change = asked.service == "route53" && asked.method == Method::POST && path.ends_with("/rrset");
    if !is_change || !String::from_utf8_lossy(&refused.body).contains("already exists") {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&asked.body).into_owned();
    // Of another body.
    let mut headers = asked.headers.clone();
    headers.remove(http::header::CONTENT_LENGTH);
    for (name, kind) in texts(&body, "Name").into_iter().zip(texts(&body, "Type")) {
        let uri: Uri = format!("{path}?name={name}&type={kind}&maxitems=1").parse().map_err(|error| format!("{name}: {error}"))?;
        let listed = moto.forward(&Asked::new(Method::GET, uri, headers.clone(), Bytes::new())).await?;
        let listed = String::from_utf8_lossy(&listed.body).into_owned();
        let is_it = |found: &&str| found.trim_end_matches('.') == name.trim_end_matches('.');
        if texts(&listed, "Name").first().is_some_and(is_it) && texts(&listed, "Type").first() == Some(&kind) {
            return Ok(None);
        }
    }
    // What is not there is made by either word.
    let body = body.replace("<Action>CREATE</Action>", "<Action>UPSERT</Action>");
    moto.forward(&Asked::new(asked.method.clone(), asked.uri.clone(), headers, body.into())).await.map(Some)
}
