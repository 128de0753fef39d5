//! Rules about one file's lines: head, length, white space, and words that must not be there.

use super::Finding;

const MAX_LINES: usize = 600;

/// Rust files that are longer for a reason.
const LONG_FILES: [(&str, &str); 0] = [];

const WRITTEN_BY_HAND: [&str; 5] = [".rs", ".md", ".toml", ".py", ".sh"];

/// Top folders of the machines that the project is developed on.
const MACHINE_FOLDERS: [&str; 3] = ["work", "farm", "root"];

/// Hosts of package registries, in two parts each, so that this file does not name them.
const REGISTRY_HOSTS: [(&str, &str); 6] = [
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("npmjs", ".org"),
    ("deb.debian", ".org"),
    ("proxy.golang", ".org"),
];

/// Applies every rule that fits the file's name.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if WRITTEN_BY_HAND.iter().any(|suffix| path.ends_with(suffix)) {
        findings.extend(white_space(path, text));
    }
    if path.ends_with(".rs") {
        findings.extend(rust_head(path, text));
        findings.extend(length(path, text));
        findings.extend(lifted_lint(path, text));
    }
    if !path.ends_with("Cargo.lock") {
        findings.extend(foreign_words(path, text));
    }
    findings
}

fn white_space(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line_idx, line) in text.lines().enumerate() {
        if line.contains('\t') {
            findings.push(Finding::new(path, line_idx + 1, "tab; indent with spaces"));
        }
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::new(
                path,
                line_idx + 1,
                "white space at the end of the line",
            ));
        }
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        findings.push(Finding::new(path, 0, "must end with one newline"));
    }
    findings
}

fn rust_head(path: &str, text: &str) -> Option<Finding> {
    let has_head = text
        .lines()
        .find(|line| !line.is_empty())?
        .starts_with("//!");
    let message = "must open with `//!`: what it owns, what comes in, what goes out";
    (!has_head).then(|| Finding::new(path, 1, message))
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let n_lines = text.lines().count();
    let is_explained = LONG_FILES.iter().any(|(long, _)| *long == path);
    (n_lines > MAX_LINES && !is_explained).then(|| {
        Finding::new(
            path,
            0,
            format!("{n_lines} lines; split it, or explain it in LONG_FILES"),
        )
    })
}

/// `unsafe` lives in `crates/bits`; elsewhere nobody switches the compiler's check off.
fn lifted_lint(path: &str, text: &str) -> Vec<Finding> {
    if path.starts_with("crates/bits/") {
        return Vec::new();
    }
    let lifts = ["allow", "expect", "warn"].map(|level| format!("{level}(unsafe_code"));
    let lines = text.lines().enumerate();
    let lifted = lines.filter(|(_, line)| lifts.iter().any(|lift| line.contains(lift)));
    let message = "unsafe code belongs in crates/bits";
    lifted
        .map(|(line_idx, _)| Finding::new(path, line_idx + 1, message))
        .collect()
}

fn foreign_words(path: &str, text: &str) -> Vec<Finding> {
    let hosts = REGISTRY_HOSTS.map(|(name, domain)| format!("{name}{domain}"));
    let mut findings = Vec::new();
    for (line_idx, line) in text.lines().enumerate() {
        if let Some(folder) = machine_path(line) {
            let message = format!("/{folder}/ is a path of one machine");
            findings.push(Finding::new(path, line_idx + 1, message));
        }
        if let Some(host) = hosts.iter().find(|host| line.contains(host.as_str())) {
            let message = format!("{host} is a registry's host; name the client (cargo, pip)");
            findings.push(Finding::new(path, line_idx + 1, message));
        }
    }
    findings
}

/// The machine folder that an absolute path in this line starts with.
fn machine_path(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.into_iter().find(|folder| {
        let start = format!("/{folder}/");
        line.match_indices(&start).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + start.len()..].chars().next();
            let starts_a_path = before.is_none_or(|c| !c.is_alphanumeric() && !"_.-".contains(c));
            starts_a_path && after.is_some_and(|c| c.is_ascii_lowercase() || c == '.')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(path, text)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert_eq!(messages("src/a.rs", "//! A.\n\nfn a() {}\n"), [""; 0]);
        assert_eq!(messages("notes.md", "# Notes\n"), [""; 0]);
    }

    #[test]
    fn a_rust_file_opens_with_its_contract() {
        assert!(messages("a.rs", "fn a() {}\n")[0].contains("//!"));
        assert_eq!(messages("a.rs", "\n//! A.\n"), [""; 0]);
    }

    #[test]
    fn white_space_is_found_with_its_line() {
        let findings = check("a.toml", "a = 1 \nb =\t2\n\n");
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 0]);
    }

    #[test]
    fn a_long_file_is_counted() {
        let text = format!("//! Long.\n{}", "fn a() {}\n".repeat(MAX_LINES));
        assert!(messages("a.rs", &text)[0].starts_with("601 lines"));
    }

    #[test]
    fn the_unsafe_lint_is_lifted_in_bits_only() {
        let text = format!("//! A.\n#![{}(unsafe_code)]\n", "allow");
        assert_eq!(
            messages("crates/run/src/a.rs", &text),
            ["unsafe code belongs in crates/bits"]
        );
        assert_eq!(messages("crates/bits/src/a.rs", &text), [""; 0]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let path = |folder: &str, rest: &str| format!("see /{folder}/{rest}");
        assert_eq!(machine_path(&path("work", "main")), Some("work"));
        assert_eq!(machine_path(&path("root", ".cargo")), Some("root"));
        assert_eq!(machine_path(&path("root", "Upper")), None);
        assert_eq!(
            machine_path(&format!(
                "net{}",
                path("work", "a").trim_start_matches("see ")
            )),
            None
        );
    }

    #[test]
    fn registry_hosts_are_found_but_not_in_the_lock_file() {
        let line = format!("https://{}{}/x\n", REGISTRY_HOSTS[1].0, REGISTRY_HOSTS[1].1);
        assert!(messages("a.txt", &line)[0].contains("registry"));
        assert_eq!(messages("Cargo.lock", &line), [""; 0]);
    }
}
