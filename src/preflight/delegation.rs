//! Whether the world finds a hosted zone: the name servers that its parent tells against those that it has.

use super::{Check, Group};
use crate::problem::Origin;
use std::collections::BTreeSet;

/// A public hosted zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Name servers of the living zone; none where it is to be made.
    pub servers: Option<Vec<String>>,
    /// Where it is declared.
    pub origin: Option<Origin>,
}

/// `told` are the name servers that the world is given; an error says why nobody could be asked.
pub fn compare(zone: &Zone, told: Result<Vec<String>, String>) -> Check {
    let name = format!("HostedZone {}", plain(&zone.name));
    let check = match (&zone.servers, told) {
        (None, Ok(told)) if told.is_empty() => Check::warning(Group::Dns, name, "it is made anew, and no parent delegates to it yet")
            .fix("after the run, set the new zone's name servers at its parent: they stand in its status"),
        (None, Ok(told)) => Check::warning(
            Group::Dns,
            name,
            format!("it is made anew with other name servers than the delegation names ({})", told.join(", ")),
        )
        .fix("after the run, set the new zone's name servers at its parent, or give the zone a reusable delegation set"),
        (_, Err(why)) => Check::not_checked(Group::Dns, name, why),
        (Some(servers), Ok(told)) => {
            let (wanted, found) = (set(servers), set(&told));
            if wanted == found {
                Check::ok(Group::Dns, name, format!("delegated to {}", list(&found)))
            } else if found.is_empty() {
                Check::warning(Group::Dns, name, "no parent delegates to it")
                    .fix(format!("set these NS records at its parent: {}", list(&wanted)))
            } else {
                let found = format!("its parent delegates to {}, it is served by {}", list(&found), list(&wanted));
                Check::warning(Group::Dns, name, found).fix(format!("set these NS records at its parent: {}", list(&wanted)))
            }
        }
    };
    check.at(zone.origin.clone())
}

fn set(names: &[String]) -> BTreeSet<String> {
    names.iter().map(|name| plain(name)).collect()
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_zone_is_found_where_its_parent_names_its_servers() {
        let zone = |servers: Option<&[&str]>| Zone {
            name: "shop.example.".into(),
            servers: servers.map(|all| all.iter().map(|&name| name.to_owned()).collect()),
            origin: None,
        };
        let told = |all: &[&str]| Ok(all.iter().map(|&name| name.to_owned()).collect());
        let ours = Some(&["ns1.awsdns.com", "ns2.awsdns.net"][..]);
        assert_eq!(compare(&zone(ours), told(&["NS2.awsdns.net.", "ns1.awsdns.com."])).verdict, Verdict::Ok);
        let old = compare(&zone(ours), told(&["ns9.awsdns.org"]));
        assert_eq!(old.verdict, Verdict::Warning);
        assert_eq!(old.fix.as_deref(), Some("set these NS records at its parent: ns1.awsdns.com, ns2.awsdns.net"));
        assert_eq!(compare(&zone(ours), told(&[])).verdict, Verdict::Warning);
        assert_eq!(compare(&zone(None), told(&["ns1.awsdns.com"])).verdict, Verdict::Warning);
        assert_eq!(compare(&zone(ours), Err("no answer".into())).verdict, Verdict::NotChecked);
    }
}
