//! Rules of security groups, one by one: AWS puts those of the same ports together, and writes networks and protocols its own way. Pure.

use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lists of peers that a rule may have, with the field that names the peer.
const PEERS: &[(&str, &str)] =
    &[("ipRanges", "cidrIP"), ("ipv6Ranges", "cidrIPv6"), ("prefixListIDs", "prefixListID"), ("userIDGroupPairs", "groupID")];

/// What AWS counts as one rule: one protocol and port range for one peer. A pair without a group means the group itself (`own`).
pub(super) fn explode(rules: &Value) -> Vec<Value> {
    let mut single = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        let (protocol, from, to) = ports(rule);
        for (list, name) in PEERS {
            for peer in rule.get(list).and_then(Value::as_array).into_iter().flatten() {
                let mut peer = peer.as_object().cloned().unwrap_or_default();
                normalise(&mut peer, name);
                single.push(json!({"protocol": protocol, "from": from, "to": to, *list: peer}));
            }
        }
    }
    single
}

fn normalise(peer: &mut Map<String, Value>, name: &str) {
    match peer.get(name).and_then(Value::as_str) {
        Some(cidr) if name.starts_with("cidr") => {
            let cidr = network(cidr);
            peer.insert(name.to_owned(), cidr.into());
        }
        None if name == "groupID" => {
            peer.insert("own".to_owned(), true.into());
        }
        _ => {}
    }
    // AWS fills these in by itself.
    for filled in ["userID", "vpcID", "groupName"] {
        peer.remove(filled);
    }
}

fn ports(rule: &Value) -> (String, Option<i64>, Option<i64>) {
    let number = |name: &str| rule.get(name).and_then(Value::as_i64);
    let protocol = protocol(rule.get("ipProtocol").and_then(Value::as_str).unwrap_or_default());
    let (from, to) = match protocol.as_str() {
        "tcp" | "udp" => (number("fromPort"), number("toPort")),
        "icmp" | "icmpv6" => (number("fromPort").or(Some(-1)), number("toPort").or(Some(-1))),
        // AWS ignores ports here.
        _ => (None, None),
    };
    (protocol, from, to)
}

/// The name that AWS gives back for a protocol.
pub fn protocol(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "1" => "icmp",
        "6" => "tcp",
        "17" => "udp",
        "58" => "icmpv6",
        "all" => "-1",
        other => other,
    }
    .to_owned()
}

/// A CIDR as AWS gives it back: short, without bits of a host.
pub fn network(cidr: &str) -> String {
    let canonical = || {
        let (address, bits) = cidr.split_once('/')?;
        let length: u32 = bits.parse().ok()?;
        let address: IpAddr = match address.parse().ok()? {
            IpAddr::V4(address) => (address & Ipv4Addr::from(u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0))).into(),
            IpAddr::V6(address) => (address & Ipv6Addr::from(u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0))).into(),
        };
        Some(format!("{address}/{length}"))
    };
    canonical().unwrap_or_else(|| cidr.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_the_same_ports_are_the_same_however_they_are_put_together() {
        let declared = json!([
            {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "ipRanges": [{"cidrIP": "10.0.0.0/16"}]},
            {"ipProtocol": "6", "fromPort": 443, "toPort": 443, "ipRanges": [{"cidrIP": "192.168.1.7/24"}]},
        ]);
        let living = json!([{"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "ipRanges": [{"cidrIP": "10.0.0.0/16"}, {"cidrIP": "192.168.1.0/24"}]}]);
        assert_eq!(explode(&declared), explode(&living));
    }

    #[test]
    fn a_pair_without_a_group_means_the_group_itself() {
        let rules = json!([{"ipProtocol": "-1", "fromPort": 0, "userIDGroupPairs": [{"description": "one another"}]}]);
        let single = json!({"protocol": "-1", "from": null, "to": null, "userIDGroupPairs": {"description": "one another", "own": true}});
        assert_eq!(explode(&rules), [single]);
    }

    #[test]
    fn networks_are_written_as_aws_writes_them() {
        assert_eq!(network("192.168.1.7/24"), "192.168.1.0/24");
        assert_eq!(network("2001:0DB8::/32"), "2001:db8::/32");
        assert_eq!(network("0.0.0.0/0"), "0.0.0.0/0");
        assert_eq!(network("nonsense/99"), "nonsense/99");
    }
}
