//! Which crate may depend on which: the arrows of the architecture, read from Cargo.toml files.
//!
//! Dependencies for tests (`dev-dependencies`) may point anywhere but at Burn.

use toml::{Table, Value};

use super::Finding;

/// A crate and the crates it may use.
const ARROWS: [(&str, &[&str]); 10] = [
    ("onebit-bits", &[]),
    ("onebit-model", &[]),
    ("onebit-data", &[]),
    (
        "onebit-train",
        &["onebit-bits", "onebit-data", "onebit-model"],
    ),
    ("onebit-compile", &["onebit-model"]),
    ("onebit-import", &["onebit-model"]),
    ("onebit-run", &["onebit-bits", "onebit-model"]),
    ("onebit-emit", &["onebit-model"]),
    ("onebit-testkit", &["onebit-model"]),
    (
        "onebit",
        &[
            "onebit-bits",
            "onebit-compile",
            "onebit-data",
            "onebit-emit",
            "onebit-import",
            "onebit-model",
            "onebit-run",
            "onebit-train",
        ],
    ),
];

const BURN_CRATE: &str = "onebit-train";
const LICENSE: &str = "MIT OR Apache-2.0";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Product,
    Tests,
}

/// Checks one Cargo.toml: its arrows when it is a crate under crates/, and its licence and lints.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(path, 0, format!("not TOML: {error}"))],
    };
    let mut findings = Vec::new();
    if let Some(license) = wrong_license(&manifest) {
        findings.push(Finding::new(
            path,
            0,
            format!("licence {license}, not {LICENSE}"),
        ));
    }
    if path.starts_with("crates/") {
        let wrong = wrong_arrows(&manifest).into_iter();
        findings.extend(wrong.map(|message| Finding::new(path, 0, message)));
        if path != "crates/bits/Cargo.toml" && !inherits(&manifest, "lints") {
            findings.push(Finding::new(
                path,
                0,
                "must have `[lints] workspace = true`",
            ));
        }
    }
    findings
}

fn wrong_license(manifest: &Table) -> Option<String> {
    match manifest.get("package")?.get("license") {
        None => Some("missing".to_owned()),
        Some(Value::String(name)) => (name != LICENSE).then(|| name.clone()),
        Some(_) => None,
    }
}

fn inherits(manifest: &Table, key: &str) -> bool {
    let workspace = manifest.get(key).and_then(|table| table.get("workspace"));
    workspace.and_then(Value::as_bool) == Some(true)
}

fn wrong_arrows(manifest: &Table) -> Vec<String> {
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"));
    let name = name.and_then(Value::as_str).unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!(
            "`{name}` is not in the list of crates in xtask/src/tidy/arrows.rs"
        )];
    };
    let mut wrong = Vec::new();
    for (to, purpose) in dependencies(manifest) {
        let is_ours = to == "onebit" || to.starts_with("onebit-");
        if is_ours && purpose == Purpose::Product && !allowed.contains(&to.as_str()) {
            wrong.push(format!("{name} must not depend on {to}"));
        }
        let is_burn = to == "burn" || to.starts_with("burn-");
        if is_burn && name != BURN_CRATE {
            wrong.push(format!(
                "{name} must not depend on {to}: Burn stays in {BURN_CRATE}"
            ));
        }
    }
    wrong
}

/// Every dependency by its package's name, the ones for some targets only included.
fn dependencies(manifest: &Table) -> Vec<(String, Purpose)> {
    let for_targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flatten();
    let sections = for_targets.filter_map(|(_, target)| target.as_table());
    let mut found = Vec::new();
    for section in std::iter::once(manifest).chain(sections) {
        for (key, purpose) in [
            ("dependencies", Purpose::Product),
            ("build-dependencies", Purpose::Product),
            ("dev-dependencies", Purpose::Tests),
        ] {
            let entries = section
                .get(key)
                .and_then(Value::as_table)
                .into_iter()
                .flatten();
            found.extend(entries.map(|(alias, entry)| (package_name(alias, entry), purpose)));
        }
    }
    found
}

fn package_name(alias: &str, entry: &Value) -> String {
    entry
        .get("package")
        .and_then(Value::as_str)
        .unwrap_or(alias)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows_of(name: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n{rest}");
        wrong_arrows(&text.parse().expect("the test's manifest is TOML"))
    }

    #[test]
    fn allowed_arrows_pass() {
        let rest =
            "[dependencies]\nonebit-bits.workspace = true\nonebit-model = { path = \"x\" }\n";
        assert_eq!(arrows_of("onebit-run", rest), [""; 0]);
    }

    #[test]
    fn a_wrong_arrow_is_named() {
        let rest = "[dependencies]\nonebit-run.workspace = true\n";
        assert_eq!(
            arrows_of("onebit-compile", rest),
            ["onebit-compile must not depend on onebit-run"]
        );
    }

    #[test]
    fn arrows_of_targets_builds_and_renames_count() {
        let rest = "[target.'cfg(unix)'.dependencies]\nonebit-run = \"1\"\n\
                    [build-dependencies]\nonebit-data = \"1\"\n\
                    [dependencies]\nm = { package = \"onebit-train\", version = \"1\" }\n";
        assert_eq!(arrows_of("onebit-model", rest).len(), 3);
    }

    #[test]
    fn tests_may_use_any_room_but_burn_stays_in_train() {
        let rest = "[dev-dependencies]\nonebit-run.workspace = true\nonebit-testkit = \"1\"\n";
        assert_eq!(arrows_of("onebit-model", rest), [""; 0]);
        let burn = "[dev-dependencies]\nburn = \"0.22\"\n";
        assert!(arrows_of("onebit-model", burn)[0].contains("Burn stays in onebit-train"));
        assert_eq!(arrows_of("onebit-train", burn), [""; 0]);
    }

    #[test]
    fn a_crate_off_the_list_is_a_decision_to_take() {
        assert!(arrows_of("onebit-utils", "")[0].contains("not in the list"));
    }

    #[test]
    fn licence_and_lints_are_inherited() {
        let text = "[package]\nname = \"onebit-run\"\nlicense = \"GPL-3.0\"\n";
        let messages: Vec<String> = check("crates/run/Cargo.toml", text)
            .into_iter()
            .map(|found| found.message)
            .collect();
        assert!(messages[0].contains("GPL-3.0") && messages[1].contains("[lints]"));
    }
}
