//! Links between Markdown files lead somewhere.
//!
//! Checks relative links outside code; links to other hosts and anchors are left to the reader.

use super::Finding;

/// A finding for each relative link whose file is missing. `exists` takes a path from the root.
pub fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (line_idx, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in link_targets(&without_code_spans(line)) {
            if !resolve(path, &target).is_some_and(|file| exists(&file)) {
                findings.push(Finding::new(
                    path,
                    line_idx + 1,
                    format!("dead link: {target}"),
                ));
            }
        }
    }
    findings
}

fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The relative targets of `[text](target)` and `[name]: target`, without title and anchor.
fn link_targets(line: &str) -> Vec<String> {
    let inline = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let inline = inline.map(|(target, _)| target);
    let reference = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "));
    let targets = inline.chain(reference.map(|(_, target)| target));
    let files = targets.filter_map(|target| target.split([' ', '#']).next());
    files
        .filter(|file| is_relative(file))
        .map(str::to_owned)
        .collect()
}

fn is_relative(target: &str) -> bool {
    !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
}

/// The linked file's path from the root; `None` when it leads out of the checkout.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_links(path: &str, text: &str) -> Vec<String> {
        let exists = |file: &str| ["README.md", "docs/data.md", "zoo"].contains(&file);
        check(path, text, exists)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn good_links_pass() {
        let text = "[a](docs/data.md#csv), [b](zoo/) [c](https://example.org/x) [d](#here)\n";
        assert_eq!(dead_links("README.md", text), [""; 0]);
        assert_eq!(
            dead_links("docs/data.md", "[up](../README.md \"title\")\n"),
            [""; 0]
        );
    }

    #[test]
    fn dead_links_are_named() {
        assert_eq!(
            dead_links("README.md", "[a](docs/no.md)\n"),
            ["dead link: docs/no.md"]
        );
        assert_eq!(
            dead_links("README.md", "[a]: no.md\n"),
            ["dead link: no.md"]
        );
        assert_eq!(
            dead_links("README.md", "[a](../up.md)\n"),
            ["dead link: ../up.md"]
        );
    }

    #[test]
    fn code_is_not_prose() {
        assert_eq!(
            dead_links("README.md", "`[a](no.md)` and\n```\n[b](no.md)\n```\n"),
            [""; 0]
        );
    }
}
