//! Asks a resolver for the records of a name (RFC 1035, RFC 3596): one question over UDP, over TCP where the answer was cut.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// Longest wait for one answer; asked twice.
const PATIENCE: Duration = Duration::from_secs(3);

/// Types of records.
pub(super) const A: u16 = 1;
pub(super) const NS: u16 = 2;
pub(super) const CNAME: u16 = 5;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;

/// The machine's own resolver, from `/etc/resolv.conf`.
pub(super) fn system() -> Option<SocketAddr> {
    of_conf(&std::fs::read_to_string("/etc/resolv.conf").ok()?)
}

fn of_conf(text: &str) -> Option<SocketAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    servers.map(|server| SocketAddr::new(server, 53)).next()
}

/// The records of one type that a name has, as the world is told, sorted; empty where there is none.
pub(super) async fn ask(resolver: SocketAddr, name: &str, record: u16) -> Result<Vec<String>, String> {
    let id = fastrand::u16(..);
    let question = question(id, name, record).ok_or_else(|| format!("{name} is no name"))?;
    let mut last = String::new();
    for _ in 0..2 {
        let asked = async {
            let answer = over_udp(resolver, &question).await?;
            // The TC bit: there is more than fits.
            if answer.get(2).is_some_and(|flags| flags & 2 != 0) { over_tcp(resolver, &question).await } else { Ok(answer) }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return read(&answer, id, record),
            Ok(Err(error)) => last = format!("resolver {resolver}: {error}"),
            Err(_) => last = format!("resolver {resolver} does not answer within {} s", PATIENCE.as_secs()),
        }
    }
    Err(last)
}

async fn over_udp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

async fn over_tcp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).unwrap_or_default();
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn question(id: u16, name: &str, record: u16) -> Option<Vec<u8>> {
    // One question, recursion desired.
    let mut message = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(record.to_be_bytes());
    message.extend([0, 1]);
    Some(message)
}

fn read(message: &[u8], id: u16, record: u16) -> Result<Vec<String>, String> {
    let broken = || "the resolver's answer cannot be read".to_owned();
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    if number(0) != Some(id) {
        return Err(broken());
    }
    match message.get(3).map(|flags| flags & 15) {
        Some(0) => {}
        // No such name.
        Some(3) => return Ok(Vec::new()),
        Some(code) => return Err(format!("the resolver answers with code {code}")),
        None => return Err(broken()),
    }
    let (questions, answers) = (number(4).ok_or_else(broken)?, number(6).ok_or_else(broken)?);
    let mut at = 12;
    for _ in 0..questions {
        at = name(message, at).ok_or_else(broken)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = name(message, at).ok_or_else(broken)?.1;
        let (kind, length) = (number(at).ok_or_else(broken)?, number(at + 8).ok_or_else(broken)?);
        at += 10;
        if kind == record {
            found.push(value(message, at, usize::from(length), record).ok_or_else(broken)?);
        }
        at += usize::from(length);
    }
    found.sort();
    Ok(found)
}

/// A record as people write it.
fn value(message: &[u8], at: usize, length: usize, record: u16) -> Option<String> {
    let data = message.get(at..at + length)?;
    match record {
        A => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?).to_string()),
        AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?).to_string()),
        // Strings of at most 255 bytes, which make one text.
        TXT => {
            let (mut text, mut rest) = (Vec::new(), data);
            while let Some((length, behind)) = rest.split_first() {
                text.extend(behind.get(..usize::from(*length))?);
                rest = &behind[usize::from(*length)..];
            }
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        _ => name(message, at).map(|(name, _)| name),
    }
}

/// A name, and where the message goes on behind it.
fn name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut labels) = (start, None, Vec::new());
    // A pointer that leads back would go on for ever.
    for _ in 0..128 {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at + 1)));
        }
        if length & 0xC0 == 0xC0 {
            end.get_or_insert(at + 2);
            at = (length & 0x3F) << 8 | usize::from(*message.get(at + 1)?);
            continue;
        }
        labels.push(String::from_utf8_lossy(message.get(at + 1..=at + length)?).into_owned());
        at += length + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_pointers_are_read_and_broken_ones_end() {
        let mut message = question(7, "shop.example", NS).expect("a question");
        message[7] = 2;
        for server in [&b"\x03ns2\xc0\x0c"[..], &b"\x03ns1\xc0\x0c"[..]] {
            message.extend([0xC0, 12, 0, 2, 0, 1, 0, 0, 0, 60, 0, 6]);
            message.extend(server);
        }
        assert_eq!(read(&message, 7, NS).expect("an answer"), ["ns1.shop.example", "ns2.shop.example"]);
        assert!(read(&message, 8, NS).is_err(), "another question's");
        assert!(read(&message[..20], 7, NS).is_err());
        let circle = [&message[..12], &[0xC0, 12]].concat();
        assert!(read(&circle, 7, NS).is_err());
        message[3] = 3;
        assert_eq!(read(&message, 7, NS), Ok(Vec::new()), "no such name");
    }

    #[test]
    fn records_are_read_as_people_write_them() {
        let answer = |record: u16, data: &[u8]| {
            let mut message = question(7, "shop.example", record).expect("a question");
            // A name in front of the addresses (RFC 1034, 3.6.2), which is not asked for.
            message[7] = 2;
            message.extend([0xC0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xC0, 12]);
            message.extend([0xC0, 12]);
            message.extend(record.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).expect("short")]);
            message.extend(data);
            read(&message, 7, record)
        };
        assert_eq!(answer(A, &[10, 0, 0, 1]).expect("read"), ["10.0.0.1"]);
        assert_eq!(answer(AAAA, &std::net::Ipv6Addr::LOCALHOST.octets()).expect("read"), ["::1"]);
        assert_eq!(answer(TXT, b"\x03v=1\x02;x").expect("read"), ["v=1;x"]);
        assert!(answer(A, &[10, 0, 0]).is_err(), "too short");
        assert!(answer(TXT, b"\x09v").is_err(), "longer than the record");
    }

    #[test]
    fn the_first_name_server_is_asked() {
        let conf = "# made by hand\nsearch example\nnameserver 127.0.0.53\nnameserver 1.1.1.1\n";
        assert_eq!(of_conf(conf), Some(([127, 0, 0, 53], 53).into()));
        assert_eq!(of_conf("options edns0\n"), None);
    }
}
