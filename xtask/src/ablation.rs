//! `cargo xtask ablation [ROW…]`: train the rows of `bench/ablation.toml` and keep their accuracies.
//!
//! In: `recipes/ablation.toml` and the rows, each a list of keys set anew. Out: one JSON object a run appended to
//! `bench/record/ablation.jsonl`, and a table of all runs recorded so far. A run that was stopped goes on where it
//! stopped; a row that is recorded for its seed is not run again unless it is named.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::setting;
use crate::process::{cargo, echo, run, target_dir};

const ROWS: &str = "bench/ablation.toml";
const RECIPE: &str = "recipes/ablation.toml";
const RECORD: &str = "bench/record/ablation.jsonl";

struct Row {
    name: String,
    title: String,
    changes: Vec<String>,
    seeds: Vec<u64>,
}

/// Runs the named rows, or all that are not recorded yet; prints the table.
pub fn ablation(root: &Path, names: &[String]) -> Result<bool> {
    let rows = rows(root)?;
    if let Some(unknown) = names
        .iter()
        .find(|name| rows.iter().all(|row| row.name != **name))
    {
        bail!("{ROWS} has no row `{unknown}`");
    }
    run(cargo(root).args(["build", "--release", "-p", "onebit"]))?;
    for row in rows
        .iter()
        .filter(|row| names.is_empty() || names.contains(&row.name))
    {
        for &seed in &row.seeds {
            let is_known = records(root)?
                .iter()
                .any(|record| record["row"] == row.name.as_str() && record["seed"] == seed);
            if names.is_empty() && is_known {
                continue;
            }
            let record = train(root, row, seed)?;
            append(root, &record)?;
        }
    }
    print!("{}", table(&rows, &records(root)?));
    Ok(true)
}

fn rows(root: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(root.join(ROWS)).with_context(|| format!("reading {ROWS}"))?;
    let table: toml::Table = text.parse().with_context(|| format!("parsing {ROWS}"))?;
    let rows = table["row"].as_array().context("no [[row]]")?;
    rows.iter()
        .map(|row| {
            let word = |key: &str| {
                let text = row.get(key).and_then(toml::Value::as_str);
                text.map(str::to_owned)
                    .with_context(|| format!("{ROWS}: a row has no `{key}`"))
            };
            let changes = row.get("set").and_then(toml::Value::as_array);
            let changes = changes
                .into_iter()
                .flatten()
                .filter_map(toml::Value::as_str);
            let is_headline = row.get("headline").is_some();
            Ok(Row {
                name: word("name")?,
                title: word("title")?,
                changes: changes.map(str::to_owned).collect(),
                seeds: if is_headline { vec![1, 2, 3] } else { vec![1] },
            })
        })
        .collect()
}

fn train(root: &Path, row: &Row, seed: u64) -> Result<Value> {
    let dir = format!("target/ablation/{}-{seed}", row.name);
    let mut args: Vec<String> = ["train", RECIPE, "--out", &dir, "--resume", "--prove", "100"]
        .map(str::to_owned)
        .into();
    args.extend(["--name".to_owned(), format!("ablation-{}", row.name)]);
    args.extend(["--set".to_owned(), format!("seed={seed}")]);
    for change in &row.changes {
        args.extend(["--set".to_owned(), change.clone()]);
    }
    let mut command = Command::new(target_dir(root).join("release/onebit"));
    command.current_dir(root).args(&args);
    echo(&command);
    run(&mut command)?;
    let path = root.join(&dir).join("result.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let result: Value = serde_json::from_str(&text)?;
    let log = fs::read_to_string(root.join(&dir).join("log.jsonl"))?;
    let seconds: f64 = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["seconds"].as_f64())
        .sum();
    let setting = setting(root)?;
    Ok(json!({
        "date": setting.date,
        "cpu": setting.cpu,
        "commit": setting.commit,
        "row": row.name,
        "seed": seed,
        "test_accuracy": result["test_accuracy"],
        "best_validation": result["best_validation"],
        "seconds": seconds,
        "command": format!("onebit {}", args.join(" ")),
    }))
}

fn append(root: &Path, record: &Value) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.join(RECORD))?;
    writeln!(file, "{record}")?;
    Ok(())
}

fn records(root: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(root.join(RECORD)).unwrap_or_default();
    let parse =
        |line: &str| serde_json::from_str(line).with_context(|| format!("{RECORD}: {line}"));
    text.lines().map(parse).collect()
}

/// One line a row: the mean over its seeds, the latest run of each, and the difference to the base.
fn table(rows: &[Row], records: &[Value]) -> String {
    let mean = |name: &str| {
        let mut latest = BTreeMap::new();
        for record in records.iter().filter(|record| record["row"] == name) {
            let accuracy = record["test_accuracy"].as_f64();
            latest.insert(record["seed"].as_u64(), accuracy.unwrap_or(f64::NAN));
        }
        let n = latest.len();
        (n > 0).then(|| {
            let mean = latest.values().sum::<f64>() / n as f64;
            let spread = latest
                .values()
                .fold((f64::MAX, f64::MIN), |(low, high), &v| {
                    (low.min(v), high.max(v))
                });
            (mean, spread.1 - spread.0, n)
        })
    };
    let base = mean("base").map(|(mean, ..)| mean);
    let mut text =
        String::from("| row | method | test | seeds (spread) | to base |\n|---|---|---|---|---|\n");
    for row in rows {
        let Some((accuracy, spread, n)) = mean(&row.name) else {
            continue;
        };
        let gain = base.map_or(String::new(), |base| {
            format!("{:+.2}", 100.0 * (accuracy - base))
        });
        let seeds = match n {
            1 => "1".to_owned(),
            n => format!("{n} ({:.2})", 100.0 * spread),
        };
        text += &format!(
            "| `{}` | {} | {:.2} % | {seeds} | {gain} |\n",
            row.name,
            row.title,
            100.0 * accuracy
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_latest_run_of_each_seed() {
        let row = |name: &str| Row {
            name: name.into(),
            title: "t".into(),
            changes: Vec::new(),
            seeds: vec![1],
        };
        let record = |name: &str, seed: u64, accuracy: f64| json!({"row": name, "seed": seed, "test_accuracy": accuracy});
        let records = [
            record("base", 1, 0.1),
            record("base", 1, 0.5),
            record("base", 2, 0.6),
            record("other", 1, 0.6),
        ];
        let text = table(&[row("base"), row("other"), row("unknown")], &records);
        assert!(
            text.contains("| `base` | t | 55.00 % | 2 (10.00) | +0.00 |"),
            "{text}"
        );
        assert!(
            text.contains("| `other` | t | 60.00 % | 1 | +5.00 |"),
            "{text}"
        );
        assert!(!text.contains("unknown"));
    }

    #[test]
    fn every_row_of_the_project_can_be_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let rows = rows(&root).unwrap();
        assert!(rows.len() > 20 && rows[0].name == "base");
    }
}
