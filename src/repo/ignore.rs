//! Which files of a source reach the artifact: gitignore patterns as source-controller applies them
//! (fluxcd.io/flux/components/source/gitrepositories, "Excluding files"), and the globs of an ArtifactGenerator.

/// Git's own files, always left out unless a later pattern brings them back.
const OF_GIT: &str = "\
.git/
.gitignore
.gitmodules
.gitattributes
";

/// Left out too where nobody gives a pattern (source-controller's documented defaults).
const DEFAULTS: &str = "\
*.jpg
*.jpeg
*.gif
*.png
*.wmv
*.flv
*.tar.gz
*.zip
.github/
.circleci/
.travis.yml
.gitlab-ci.yml
appveyor.yml
.drone.yml
cloudbuild.yaml
codeship-services.yml
codeship-steps.yml
**/.goreleaser.yml
**/.sops.yaml
**/.flux.yaml
";

/// An ordered list of gitignore patterns; the last one that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Folder that the pattern stands in, as parts.
    base: Vec<String>,
    negated: bool,
    folders_only: bool,
    anchored: bool,
    parts: Vec<String>,
}

impl Ignore {
    /// What source-controller leaves out by the patterns of these files (folder and text, in order). One pattern is enough that its other
    /// defaults do not count any more (source-controller `internal/controller/storage.go`, `SourceIgnoreFilter`).
    pub fn of<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut given = Self::default();
        files.into_iter().for_each(|(folder, text)| given.add(folder, text));
        let mut ignore = Self::default();
        ignore.add("", OF_GIT);
        if given.patterns.is_empty() {
            ignore.add("", DEFAULTS);
        }
        ignore.patterns.append(&mut given.patterns);
        ignore
    }

    /// Adds the patterns of a file that stands in `folder` (`""` for the root).
    fn add(&mut self, folder: &str, text: &str) {
        for line in text.lines() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
            let (folders_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
            let anchored = line.contains('/');
            let parts: Vec<String> = line.trim_start_matches('/').split('/').map(str::to_owned).collect();
            let base = folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            self.patterns.push(Pattern { base, negated, folders_only, anchored, parts });
        }
    }

    /// Whether a file (path with `/` from the root) is left out. A pattern that matches a folder matches all below.
    pub fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        self.patterns.iter().rev().find(|pattern| pattern.matches(&parts)).is_some_and(|pattern| !pattern.negated)
    }
}

impl Pattern {
    fn matches(&self, path: &[&str]) -> bool {
        let below = path.len() > self.base.len() && self.base.iter().zip(path).all(|(base, part)| base == part);
        if !below {
            return false;
        }
        let path = &path[self.base.len()..];
        (1..=path.len()).any(|length| {
            let is_folder = length < path.len();
            if self.folders_only && !is_folder {
                return false;
            }
            if self.anchored { parts_match(&self.parts, &path[..length]) } else { part_matches(&self.parts[0], path[length - 1]) }
        })
    }
}

/// Whether a glob with `*`, `?`, `[…]` and `**` matches a whole path with `/`.
pub fn glob(pattern: &str, path: &str) -> bool {
    let pattern: Vec<String> = pattern.split('/').map(str::to_owned).collect();
    let path: Vec<&str> = path.split('/').collect();
    parts_match(&pattern, &path)
}

fn parts_match(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => (0..=path.len()).any(|skipped| parts_match(rest, &path[skipped..])),
        Some((first, rest)) => path.split_first().is_some_and(|(part, below)| part_matches(first, part) && parts_match(rest, below)),
    }
}

fn part_matches(pattern: &str, text: &str) -> bool {
    // Nearly all patterns are a name, or `*` and the end of one.
    let is_plain = |text: &str| !text.contains(['*', '?', '[', '\\']);
    match pattern.strip_prefix('*') {
        Some(end) if is_plain(end) => return text.ends_with(end),
        None if is_plain(pattern) => return pattern == text,
        _ => {}
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    chars_match(&pattern, &text)
}

fn chars_match(pattern: &[char], text: &[char]) -> bool {
    match pattern.first() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[pattern.iter().take_while(|c| **c == '*').count()..];
            (0..=text.len()).any(|skipped| chars_match(rest, &text[skipped..]))
        }
        Some('?') => !text.is_empty() && chars_match(&pattern[1..], &text[1..]),
        Some('\\') if pattern.len() > 1 => text.first() == Some(&pattern[1]) && chars_match(&pattern[2..], &text[1..]),
        Some('[') => {
            let Some(end) = pattern.iter().skip(2).position(|c| *c == ']').map(|index| index + 2) else {
                return text.first() == Some(&'[') && chars_match(&pattern[1..], &text[1..]);
            };
            let Some(found) = text.first() else { return false };
            let set = &pattern[1..end];
            let (negated, set) = match set.first() {
                Some('!' | '^') => (true, &set[1..]),
                _ => (false, set),
            };
            in_set(set, *found) != negated && chars_match(&pattern[end + 1..], &text[1..])
        }
        Some(c) => text.first() == Some(c) && chars_match(&pattern[1..], &text[1..]),
    }
}

fn in_set(set: &[char], found: char) -> bool {
    let mut index = 0;
    while index < set.len() {
        if index + 2 < set.len() && set[index + 1] == '-' {
            if (set[index]..=set[index + 2]).contains(&found) {
                return true;
            }
            index += 3;
        } else {
            if set[index] == found {
                return true;
            }
            index += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_leave_out_what_source_controller_leaves_out() {
        let ignore = Ignore::of([("", "# nothing\n")]);
        for path in [".github/workflows/ci.yaml", "docs/logo.png", "a/b/.sops.yaml", ".gitignore", "x/.gitlab-ci.yml"] {
            assert!(ignore.excludes(path), "{path}");
        }
        for path in ["clusters/staging/apps.yaml", "a/github/x.yaml"] {
            assert!(!ignore.excludes(path), "{path}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let ignore = Ignore::of([("", "/*\n!/deploy\n"), ("deploy", "tests/\n")]);
        assert!(ignore.excludes("src/main.rs"));
        assert!(!ignore.excludes("deploy/app.yaml"));
        assert!(ignore.excludes("deploy/tests/x.yaml"));
        assert!(!ignore.excludes("deploy/tests"), "a file of that name is no folder");
    }

    #[test]
    fn one_pattern_is_enough_that_the_other_defaults_do_not_count() {
        let ignore = Ignore::of([("", "docs/\n")]);
        assert!(ignore.excludes("docs/a.md") && ignore.excludes(".gitignore"));
        assert!(!ignore.excludes("a/.sops.yaml") && !ignore.excludes("logo.png"));
    }

    #[test]
    fn globs_match_as_doublestar_does() {
        assert!(glob("apps/**", "apps/base/x.yaml"));
        assert!(glob("deploy/**/*.yaml", "deploy/x.yaml"));
        assert!(glob("deploy/**/*.yaml", "deploy/a/b/x.yaml"));
        assert!(!glob("deploy/*.yaml", "deploy/a/x.yaml"));
        assert!(glob("[a-c]?.txt", "b1.txt") && !glob("[!a-c]?.txt", "b1.txt"));
    }
}
