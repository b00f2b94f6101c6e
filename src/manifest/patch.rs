//! Proposals for a manifest as a unified diff that `git apply` takes. Pure: text in, text out; nothing else of the file is touched.

use std::fmt::Write as _;

/// Lines of the file before and after what is new.
const CONTEXT: usize = 2;

/// New lines for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insertion {
    /// The line that they follow, counted from 1.
    pub after: usize,
    /// They, without line ends.
    pub lines: Vec<String>,
}

/// Puts a field first into `spec` of the document that holds a line. None where `spec` is no block of its own lines, or has the field.
pub fn into_spec(text: &str, line: u32, field: &str, value: &[String]) -> Option<Insertion> {
    let lines: Vec<&str> = text.lines().collect();
    let at = (line as usize).saturating_sub(1).min(lines.len());
    let is_border = |line: &&str| line.starts_with("---");
    let start = lines[..at].iter().rposition(is_border).map_or(0, |border| border + 1);
    let start = if lines.get(at).is_some_and(is_border) { at + 1 } else { start };
    let end = lines[start..].iter().position(is_border).map_or(lines.len(), |border| start + border);
    let spec = (start..end).find(|&at| lines[at].split('#').next().is_some_and(|line| line.trim_end() == "spec:"))?;
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let below = || lines[spec + 1..end].iter().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let indent = below().next().map_or(0, |line| depth(line));
    let indent = if indent == 0 { 2 } else { indent };
    let block = below().take_while(|line| depth(line) >= indent);
    if block.clone().any(|line| depth(line) == indent && line.trim_start().starts_with(&format!("{field}:"))) {
        return None;
    }
    let spaces = " ".repeat(indent);
    let new = std::iter::once(format!("{spaces}{field}:")).chain(value.iter().map(|line| format!("{spaces}  {line}")));
    Some(Insertion { after: spec + 1, lines: new.collect() })
}

/// The diff of a file with all its insertions.
pub fn unified(file: &str, text: &str, insertions: &[Insertion]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut sorted: Vec<&Insertion> = insertions.iter().collect();
    sorted.sort_by_key(|insertion| insertion.after);
    let mut diff = format!("--- a/{file}\n+++ b/{file}\n");
    let mut added = 0;
    for insertion in sorted {
        let first = insertion.after.saturating_sub(CONTEXT - 1).max(1);
        let last = (insertion.after + CONTEXT).min(lines.len());
        let count = last + 1 - first;
        let _ = writeln!(diff, "@@ -{first},{count} +{},{} @@", first + added, count + insertion.lines.len());
        for number in first..=last {
            let _ = writeln!(diff, " {}", lines[number - 1]);
            if number == lines.len() && !text.ends_with('\n') {
                diff.push_str("\\ No newline at end of file\n");
            }
            if number == insertion.after {
                for line in &insertion.lines {
                    let _ = writeln!(diff, "+{line}");
                }
            }
        }
        added += insertion.lines.len();
    }
    diff
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: &str = "\
kind: VPC
metadata: {name: a}
spec:
    cidrBlocks:
    - 10.0.0.0/16
---
kind: ElasticIPAddress
metadata:
  name: b
spec: # any
";

    fn name() -> Vec<String> {
        vec!["- key: Name".to_owned(), "  value: a".to_owned()]
    }

    #[test]
    fn a_field_goes_into_the_right_document_as_deep_as_its_neighbours() {
        let first = into_spec(FILE, 1, "tags", &name()).unwrap();
        let second = into_spec(FILE, 7, "tags", &name()).unwrap();
        insta::assert_snapshot!(unified("infra/all.yaml", FILE, &[second, first]), @r"
        --- a/infra/all.yaml
        +++ b/infra/all.yaml
        @@ -2,4 +2,7 @@
         metadata: {name: a}
         spec:
        +    tags:
        +      - key: Name
        +        value: a
             cidrBlocks:
             - 10.0.0.0/16
        @@ -9,2 +12,5 @@
           name: b
         spec: # any
        +  tags:
        +    - key: Name
        +      value: a
        ");
    }

    #[test]
    fn what_cannot_be_put_in_by_lines_is_left_to_people() {
        assert_eq!(into_spec("kind: VPC\nspec: {cidrBlocks: []}\n", 1, "tags", &name()), None);
        assert_eq!(into_spec("kind: VPC\nspec:\n  tags: []\n", 1, "tags", &name()), None);
        let deeper = "kind: VPC\nspec:\n  a:\n    tags: []\n";
        assert!(into_spec(deeper, 1, "tags", &name()).is_some(), "another field of that name is deeper");
    }
}
