//! Paths with `/`, as Go's `path` reads them (pkg.go.dev/path).

/// The shortest path to the same place.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

/// The last part.
pub(super) fn base(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("") | None if path.is_empty() => ".",
        Some("") | None => "/",
        Some(last) => last,
    }
}

/// Everything before the last part.
pub(super) fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

/// From the last dot of the last part on.
pub(super) fn ext(path: &str) -> &str {
    let start = path.rfind('/').map_or(0, |at| at + 1);
    path[start..].rfind('.').map_or("", |at| &path[start + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_go_does() {
        for (path, parts) in [
            ("a/b.tar.gz", ["a/b.tar.gz", "b.tar.gz", "a", ".gz"]),
            ("/a/../../b/", ["/b", "b", "/b", ""]),
            ("", [".", ".", ".", ""]),
            ("/", ["/", "/", "/", ""]),
            ("../a/./x", ["../a/x", "x", "../a", ""]),
        ] {
            assert_eq!([clean(path).as_str(), base(path), dir(path).as_str(), ext(path)], parts, "{path}");
        }
    }
}
