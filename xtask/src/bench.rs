//! `cargo xtask bench`: measure the zoo net and every kernel on every ISA and keep the result.
//!
//! In: the release build of `onebit`, `zoo/mnist-lfc.bnn`, and the example that times `KERNELS`. Out: one
//! JSON object a run, appended to `bench/record/DATE-CPU.jsonl`, with the command, CPU and commit that gave
//! it. The numbers are `onebit bench --json`'s own; it checks its answers itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{cargo, echo, output, run, target_dir};

const NET: &str = "zoo/mnist-lfc.bnn";

/// The example that times every kernel.
const KERNELS: &str = "run --release -p onebit-bits --example bench_kernels -- --json";

/// Every value of `ONEBIT_ISA`.
const ISAS: [&str; 5] = ["scalar", "simd128", "neon", "avx2", "avx512"];

/// What `onebit` says of an ISA that this CPU has not; any other error ends the bench.
const LACKS_ISA: &str = "cannot be used here";

/// (threads, batch): the single image, the bar's batch, and both cores.
const RUNS: [(u32, u32); 4] = [(1, 1), (1, 64), (1, 256), (2, 256)];

/// What one record says about the machine and the code.
pub struct Setting {
    /// Day of the run.
    pub date: String,
    /// The CPU's name.
    pub cpu: String,
    /// Short hash, with `-modified` where files differ from it.
    pub commit: String,
}

/// Builds, measures and records, on every ISA that this CPU has.
pub fn bench(root: &Path) -> Result<bool> {
    if !root.join(NET).is_file() {
        bail!("{NET} is missing; train it with the command in its card first");
    }
    run(cargo(root).args(["build", "--release", "-p", "onebit"]))?;
    let setting = setting(root)?;
    let mut records = Vec::new();
    for isa in ISAS {
        match measure_isa(root, isa)? {
            Some(runs) => records.extend(runs.iter().map(|run| record(&setting, run))),
            None => println!("left out: this CPU has no {isa}"),
        }
    }
    records.extend(kernels(root)?.iter().map(|run| record(&setting, run)));
    let path = root.join("bench/record").join(record_name(&setting));
    append(&path, &records)?;
    println!("{} records appended to {}", records.len(), path.display());
    Ok(true)
}

/// A run's command line and what it printed.
type Measured = (String, Value);

/// Every run of one ISA; `None` when `onebit` says that this CPU lacks it.
fn measure_isa(root: &Path, isa: &str) -> Result<Option<Vec<Measured>>> {
    let mut measured = Vec::new();
    for (n_threads, batch) in RUNS {
        match measure(root, isa, n_threads, batch) {
            Ok(run) => measured.push(run),
            Err(error) if format!("{error:#}").contains(LACKS_ISA) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(measured))
}

fn measure(root: &Path, isa: &str, n_threads: u32, batch: u32) -> Result<Measured> {
    let args = format!("bench {NET} --threads {n_threads} --batch {batch} --json");
    let mut command = Command::new(target_dir(root).join("release/onebit"));
    command
        .current_dir(root)
        .env("ONEBIT_ISA", isa)
        .args(args.split(' '));
    echo(&command);
    let printed = output(&mut command)?;
    println!("{}", printed.trim());
    let value = serde_json::from_str(&printed).context("`onebit bench --json` is not JSON")?;
    Ok((format!("ONEBIT_ISA={isa} onebit {args}"), value))
}

/// Every kernel in the list of `crates/bits`, on every tier of this CPU.
fn kernels(root: &Path) -> Result<Vec<Measured>> {
    let mut command = cargo(root);
    command.args(KERNELS.split(' '));
    echo(&command);
    let printed = output(&mut command)?;
    print!("{printed}");
    let measured = printed.lines().map(|line| {
        let value = serde_json::from_str(line).context("`bench_kernels --json` is not JSON")?;
        Ok((format!("cargo {KERNELS}"), value))
    });
    measured.collect()
}

/// The present machine and checkout.
pub fn setting(root: &Path) -> Result<Setting> {
    let git = |args: &[&str]| output(Command::new("git").args(args).current_dir(root));
    let mut commit = git(&["rev-parse", "--short", "HEAD"])?.trim().to_owned();
    let records = ":!bench/record";
    if !git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        records,
    ])?
    .is_empty()
    {
        commit.push_str("-modified");
    }
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?
        .trim()
        .to_owned();
    let cpu = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| cpu_name(&text));
    Ok(Setting {
        date,
        cpu: cpu.unwrap_or_else(|| "unknown CPU".to_owned()),
        commit,
    })
}

fn cpu_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn record(setting: &Setting, (command, result): &Measured) -> Value {
    json!({
        "date": setting.date,
        "cpu": setting.cpu,
        "commit": setting.commit,
        "command": command,
        "result": result,
    })
}

fn record_name(setting: &Setting) -> String {
    let mut slug = String::new();
    for part in setting.cpu.split(|c: char| !c.is_ascii_alphanumeric()) {
        if !part.is_empty() {
            slug.push('-');
            slug.push_str(&part.to_ascii_lowercase());
        }
    }
    format!("{}{slug}.jsonl", setting.date)
}

fn append(path: &Path, records: &[Value]) -> Result<()> {
    let folder = path.parent().context("a record without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
    for record in records {
        writeln!(file, "{record}").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example_setting() -> Setting {
        let [date, cpu, commit] = ["2026-01-02", "AMD EPYC 9B45 (x)", "abc"].map(str::to_owned);
        Setting { date, cpu, commit }
    }

    #[test]
    fn the_cpu_is_read_from_the_kernels_list() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9B45\nflags\t: avx2\n";
        assert_eq!(cpu_name(text).as_deref(), Some("AMD EPYC 9B45"));
        assert_eq!(cpu_name("processor : 0\n"), None);
    }

    #[test]
    fn a_record_is_one_line_with_its_setting() {
        let measured = ("onebit bench".to_owned(), json!({ "images_per_s": 5 }));
        let line = record(&example_setting(), &measured).to_string();
        assert!(line.contains("\"commit\":\"abc\"") && line.contains("\"images_per_s\":5"));
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_record_file_is_named_by_date_and_cpu() {
        assert_eq!(
            record_name(&example_setting()),
            "2026-01-02-amd-epyc-9b45-x.jsonl"
        );
    }
}
