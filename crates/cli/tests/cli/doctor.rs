//! `doctor` on runs that a person may have: finished, with a twin, damaged, of other data.

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{expect, fails, ok, tiny_recipe};

fn trained(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny_recipe("tiny", 4) + more;
    std::fs::write(folder.path().join("r.toml"), recipe).unwrap();
    let args = ["train", "r.toml", "--out", "run", "--threads", "2"];
    ok(folder.path(), &args);
    folder
}

fn json(folder: &TempDir, more: &[&str]) -> Value {
    let args = [&["doctor", "run", "--json"], more].concat();
    serde_json::from_str(&ok(folder.path(), &args)).unwrap()
}

/// The text with every number as `#` and single spaces: what depends on no machine's rounding.
fn masked(text: &str) -> String {
    let is_number = |word: &str| {
        word.chars().any(|c| c.is_ascii_digit())
            && word.chars().all(|c| "+-.,0123456789".contains(c))
    };
    let line = |line: &str| {
        let words = line.split_whitespace();
        let words: Vec<&str> = words.map(|w| if is_number(w) { "#" } else { w }).collect();
        words.join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

#[test]
fn a_report_agrees_with_the_log_and_the_files() {
    let folder = trained("");
    let told = ok(folder.path(), &["doctor", "run"]);
    let facts = told.split("\nFindings").next().unwrap();
    expect("doctor.txt", &masked(facts));
    let found = json(&folder, &["--examples", "100"]);
    assert_eq!(
        (&found["examples"], &found["data"]),
        (&100.into(), &"digits".into())
    );
    let log = std::fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let weights = found["weights"].as_array().unwrap();
    assert_eq!(weights.len(), 2);
    // The shares of layers add up to the log's share of the network.
    let number = |value: &Value| value.as_f64().unwrap();
    // Flips are also those of the ten binary biases of the scores.
    let mean = |key: &str, biases: f64| {
        let sizes = [0, 1].map(|i| number(&weights[i]["weights"]) + biases * i as f64);
        let sum: f64 = (0..2).map(|i| number(&weights[i][key]) * sizes[i]).sum();
        sum / (sizes[0] + sizes[1])
    };
    for (key, logged, biases) in [("starved", "starved", 0.0), ("flips", "flip_ratio", 10.0)] {
        let (own, logged) = (mean(key, biases), number(&last[logged]));
        assert!((own - logged).abs() < 1e-9, "{key}: {own} is not {logged}");
    }
    assert_eq!(weights[1]["flips"], last["flips"][1][1]);
    assert_eq!(found["curve"]["val_accuracy"], last["val_accuracy"]);
    let inspected = ok(folder.path(), &["inspect", "run/tiny.bnn", "--json"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    for key in ["bit_macs", "bytes"] {
        assert_eq!(found["cost"][key], inspected[key], "{key}");
    }
}

#[test]
fn a_sick_run_is_told_which_keys_to_change() {
    // A clip far below the learning rate: every step takes every weight to it.
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny_recipe("tiny", 2)
        .replace("latent_clip = 1.0", "latent_clip = 0.001\nclip = 0.001")
        .replace("lr_end = 1e-4", "lr_end = 0.01");
    std::fs::write(folder.path().join("r.toml"), recipe).unwrap();
    ok(folder.path(), &["train", "r.toml", "--out", "run"]);
    let found = json(&folder, &[]);
    let findings = found["findings"].as_array().unwrap();
    for (problem, key) in [
        ("starved", "`stage[0].latent_clip`"),
        ("blocked", "`stage[0].clip`"),
    ] {
        let finding = findings.iter().find(|f| f["problem"] == problem);
        let finding = finding.unwrap_or_else(|| panic!("{problem} is missing in {findings:?}"));
        let advice = finding["advice"].as_str().unwrap();
        assert!(advice.contains(key), "{key} is missing in {advice}");
    }
    let told = ok(folder.path(), &["doctor", "run"]);
    assert!(told.contains("`stage[0].latent_clip`"), "{told}");
}

#[test]
fn of_a_run_with_a_twin_the_bits_are_looked_at() {
    let folder = trained("\n[twin]\nkind = \"float\"\nepochs = 1\nbatch = 64\nlr = 0.01\n");
    let found = json(&folder, &["--examples", "20"]);
    assert_eq!(found["place"]["kind"], "bitwise");
    assert_eq!(found["place"]["epoch"], 4);
    assert_eq!(found["curve"]["epochs"], 4);
    std::fs::remove_file(folder.path().join("run/stages.ckpt")).unwrap();
    let error = fails(folder.path(), 1, &["doctor", "run"]);
    assert!(
        error.contains("last.ckpt") && error.contains("stages.ckpt"),
        "{error}"
    );
}

#[test]
fn damaged_runs_are_named_with_what_to_do() {
    let folder = trained("");
    let path = folder.path().join("run");
    let error = fails(folder.path(), 1, &["doctor", "nowhere"]);
    assert!(
        error.contains("last.ckpt") && error.contains("onebit train"),
        "{error}"
    );
    fails(folder.path(), 2, &["doctor", "run", "--examples", "0"]);
    let net = std::fs::read(path.join("best.net")).unwrap();
    std::fs::write(path.join("best.net"), &net[..net.len() / 2]).unwrap();
    assert!(fails(folder.path(), 1, &["doctor", "run"]).contains("best.net"));
    std::fs::remove_file(path.join("best.net")).unwrap();
    assert_eq!(json(&folder, &[])["cost"], Value::Null);
    let csv: String = (0..400)
        .map(|i| format!("{}.5,{},{}\n", i % 7, i % 5, i % 2))
        .collect();
    std::fs::write(
        folder.path().join("other.csv"),
        "a,b,label\n".to_string() + &csv,
    )
    .unwrap();
    let error = fails(folder.path(), 1, &["doctor", "run", "--data", "other.csv"]);
    assert!(
        error.contains("--data") || error.contains("other.csv"),
        "{error}"
    );
    let checkpoint = std::fs::read(path.join("last.ckpt")).unwrap();
    for end in [0, 7, 100, checkpoint.len() - 1] {
        std::fs::write(path.join("last.ckpt"), &checkpoint[..end]).unwrap();
        let error = fails(folder.path(), 1, &["doctor", "run"]);
        assert!(
            error.contains("last.ckpt") && error.contains("--overwrite"),
            "{error}"
        );
    }
}
