//! Rules about the set of files: licences, the change log, the zoo, fuzz corpora.

use std::collections::BTreeSet;

use super::{Finding, Source};

const ROOT_FILES: [&str; 4] = ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md"];

/// What stands beside a recipe in the zoo: the net, its card, the log of its training.
const ZOO_PARTS: [&str; 3] = ["bnn", "md", "log.jsonl"];

/// Applies every rule.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let paths: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut findings = root_files(&paths);
    findings.extend(zoo(&paths));
    findings.extend(corpora(&paths));
    let change_log = sources.iter().find(|source| source.path == "CHANGELOG.md");
    findings.extend(change_log.and_then(unreleased));
    findings
}

fn root_files(paths: &BTreeSet<&str>) -> Vec<Finding> {
    let missing = ROOT_FILES.iter().filter(|name| !paths.contains(**name));
    missing
        .map(|name| Finding::new(name, 0, "is missing"))
        .collect()
}

fn unreleased(change_log: &Source) -> Option<Finding> {
    let text = change_log.text.as_deref().unwrap_or_default();
    let has_section = text
        .lines()
        .any(|line| line == "## Unreleased" || line == "## [Unreleased]");
    (!has_section).then(|| Finding::new(&change_log.path, 0, "needs a section `## Unreleased`"))
}

/// Every recipe has its net, card and log, and every net its recipe.
fn zoo(paths: &BTreeSet<&str>) -> Vec<Finding> {
    let names = |suffix: &'static str| {
        paths
            .iter()
            .filter_map(move |path| path.strip_prefix("zoo/")?.strip_suffix(suffix))
    };
    let mut findings = Vec::new();
    for name in names(".toml") {
        let parts = ZOO_PARTS.map(|suffix| format!("zoo/{name}.{suffix}"));
        let missing = parts.iter().filter(|part| !paths.contains(part.as_str()));
        findings.extend(missing.map(|part| Finding::new(part, 0, "is missing beside its recipe")));
    }
    for name in names(".bnn") {
        let recipe = format!("zoo/{name}.toml");
        if !paths.contains(recipe.as_str()) {
            findings.push(Finding::new(&recipe, 0, "is missing beside its net"));
        }
    }
    findings
}

/// Every fuzz target starts from a corpus.
fn corpora(paths: &BTreeSet<&str>) -> Vec<Finding> {
    let targets = paths.iter().filter_map(|path| {
        path.strip_prefix("fuzz/fuzz_targets/")
            .and_then(|file| file.strip_suffix(".rs"))
    });
    let folders = targets.map(|target| format!("fuzz/corpus/{target}/"));
    let empty = folders.filter(|folder| !paths.iter().any(|path| path.starts_with(folder)));
    empty
        .map(|folder| Finding::new(&folder, 0, "a fuzz target needs a corpus here"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(paths: &[&str]) -> Vec<String> {
        let source = |path: &&str| Source {
            path: (*path).to_owned(),
            text: Some("## Unreleased\n".to_owned()),
        };
        let sources: Vec<Source> = paths.iter().chain(&ROOT_FILES).map(source).collect();
        check(&sources)
            .into_iter()
            .map(|finding| finding.path)
            .collect()
    }

    #[test]
    fn a_whole_project_passes() {
        let zoo = [
            "zoo/a.toml",
            "zoo/a.bnn",
            "zoo/a.md",
            "zoo/a.log.jsonl",
            "zoo/README.md",
        ];
        assert_eq!(found_in(&zoo), [""; 0]);
        assert_eq!(
            found_in(&["fuzz/fuzz_targets/npy.rs", "fuzz/corpus/npy/one"]),
            [""; 0]
        );
    }

    #[test]
    fn zoo_parts_are_missed() {
        assert_eq!(
            found_in(&["zoo/a.toml", "zoo/a.bnn"]),
            ["zoo/a.md", "zoo/a.log.jsonl"]
        );
        assert_eq!(found_in(&["zoo/b.bnn"]), ["zoo/b.toml"]);
    }

    #[test]
    fn an_empty_corpus_is_missed() {
        let paths = ["fuzz/fuzz_targets/npy.rs", "fuzz/corpus/npyz/one"];
        assert_eq!(found_in(&paths), ["fuzz/corpus/npy/"]);
    }

    #[test]
    fn root_files_and_the_unreleased_section_are_missed() {
        let log = Source {
            path: "CHANGELOG.md".to_owned(),
            text: Some("# Log\n".to_owned()),
        };
        let findings = check(&[log]);
        assert_eq!(findings.len(), 4);
        assert!(findings[3].message.contains("Unreleased"));
    }
}
