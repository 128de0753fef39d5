//! `onebit train`: from a recipe to a proven Program and everything a run leaves behind.

use std::path::{Path, PathBuf};

use onebit_data::io_remedy;
use onebit_train::device::DeviceName;
use onebit_train::fit::{Event, FitError, FitOptions, Outcome, fit};
use onebit_train::recipe::Recipe;
use onebit_train::recipe::overrides::parse_with;

use crate::engine::{n_threads, parse_threads};
use crate::error::{Failure, misuse};
use crate::finish::{self, Job};
use crate::output::{note, say};
use crate::progress::{Detail, Training};
use crate::signals::Signals;
use crate::table::percent;

/// Train a network from a recipe, lower it and prove the result
#[derive(clap::Args)]
pub struct Args {
    /// A recipe, a TOML file
    recipe: PathBuf,
    /// Data set: a name such as digits or mnist, or a folder [default: what the recipe says]
    #[arg(long, value_name = "SET")]
    data: Option<String>,
    /// Folder of this run [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Name of the network [default: what the recipe says]
    #[arg(long)]
    name: Option<String>,
    /// Set a key of the recipe, as in --set stage.0.lr=0.01 or --set 'defaults.weights="twn"'; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Go on from the run folder's last checkpoint
    #[arg(long)]
    resume: bool,
    /// Start afresh in a folder that holds another run
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Prove the Program on the first N test examples only; accuracy still counts all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prove: Option<u32>,
    /// Threads; 0 is all cores
    #[arg(long, default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
    /// Where forward and backward passes are computed; a GPU needs a build with its feature
    #[arg(long, value_enum, default_value_t = DeviceArg::Cpu)]
    device: DeviceArg,
}

/// [`DeviceName`] as it is typed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DeviceArg {
    Cpu,
    Wgpu,
    Cuda,
}

impl DeviceArg {
    fn device(self) -> DeviceName {
        match self {
            DeviceArg::Cpu => DeviceName::Cpu,
            DeviceArg::Wgpu => DeviceName::Wgpu,
            DeviceArg::Cuda => DeviceName::Cuda,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    // Nothing else runs yet. Training is as right where the allocator has no such setting, and slower.
    onebit_bits::memory::keep_freed();
    let (text, recipe) = read_recipe(args)?;
    let dir = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(&recipe.name));
    check_folder(args, &dir)?;
    let opened = onebit_data::open_with(&recipe.data, &onebit_data::OpenOptions::default())?;
    opened.notes.iter().for_each(note);
    let data = opened.dataset;
    let threads = n_threads(args.threads);
    let signals = Signals::listen()?;
    let mut training = Training::new(&recipe, Detail::Epochs);
    let options = FitOptions {
        run_dir: dir.clone(),
        resume: args.resume,
        threads,
        device: args.device.device(),
    };
    let mut old = args.overwrite.then(|| results_of(&dir, &recipe.name));
    let fitted = fit(&recipe, &data, &options, &signals.stop, &mut |event| {
        training.event(&event);
        match event {
            // The recipe is accepted and the old run's checkpoint is gone: its results go too.
            Event::Phase { .. } => old.take().into_iter().flatten().for_each(|path| {
                let _ = std::fs::remove_file(path);
            }),
            Event::Testing => signals.end_at_once(),
            _ => {}
        }
    });
    training.finish();
    let outcome = fitted.map_err(|error| explain(error, args, &dir))?;
    for change in &outcome.changes {
        note(format!("resumed with {change}"));
    }
    let job = Job {
        recipe: &recipe,
        recipe_text: &text,
        commands: commands(args, &recipe, &dir),
        data: &data,
        outcome: &outcome,
        dir: &dir,
        threads,
        prove: args.prove.map(|n| n as usize),
    };
    let finished = finish::prove(&job)?;
    finish::write(&job, &finished)?;
    tell(&job, &finished, &outcome)
}

fn tell(job: &Job<'_>, finished: &finish::Finished, outcome: &Outcome) -> Result<(), Failure> {
    let name = &job.recipe.name;
    let test = &finished.test;
    say(format!(
        "test      {} right ({} of {})",
        percent(test.accuracy()),
        test.correct,
        test.total
    ))?;
    if let Some(twin) = &outcome.twin {
        let gap = 100.0 * (test.accuracy() - twin.accuracy());
        say(format!(
            "twin      {} in float32, gap {gap:+.2} points",
            percent(twin.accuracy())
        ))?;
    }
    say(format!(
        "proof     {} agree on {} {} test examples",
        finished.engines.join(", "),
        if finished.n_proven == test.total {
            "all"
        } else {
            "the first"
        },
        finished.n_proven
    ))?;
    say(format!("size      {}", finish::size(finished)))?;
    say(format!(
        "files     {}: {name}.bnn, {name}.net, {name}.md, report.html",
        job.dir.display()
    ))
}

/// The recipe's own text, and the recipe with what the command line changes.
fn read_recipe(args: &Args) -> Result<(String, Recipe), Failure> {
    let path = args.recipe.display();
    let text = std::fs::read_to_string(&args.recipe).map_err(|error| {
        Failure::Failed(format!(
            "{path}: cannot read the recipe: {error}; {}",
            io_remedy(&error)
        ))
    })?;
    let wrong = |error| Failure::Failed(format!("{path}: {error}"));
    let (mut recipe, changed) = parse_with(&text, &args.changes).map_err(wrong)?;
    let text = changed.unwrap_or(text);
    if let Some(data) = &args.data {
        recipe.data.clone_from(data);
    }
    if let Some(name) = &args.name {
        recipe.name.clone_from(name);
        recipe
            .check()
            .map_err(|error| Failure::Misuse(format!("--name: {error}")))?;
    }
    Ok((text, recipe))
}

/// A run of hours is not lost to a forgotten flag.
fn check_folder(args: &Args, dir: &Path) -> Result<(), Failure> {
    let checkpoint = dir.join("last.ckpt");
    if args.resume && !checkpoint.is_file() {
        note(format!(
            "{}: no checkpoint to resume from, starting afresh",
            dir.display()
        ));
    }
    if !args.resume && !args.overwrite && checkpoint.is_file() {
        return misuse(format!(
            "{}: holds a run already; go on with --resume, choose another folder with --out, or start afresh with --overwrite",
            dir.display()
        ));
    }
    Ok(())
}

/// What a finished run leaves in its folder.
fn results_of(dir: &Path, name: &str) -> Vec<PathBuf> {
    let named = ["bnn", "net", "md", "toml"].map(|kind| format!("{name}.{kind}"));
    let others = ["curves.svg", "confusion.svg", "report.html"].map(str::to_string);
    named
        .iter()
        .chain(&others)
        .map(|file| dir.join(file))
        .collect()
}

fn explain(error: FitError, args: &Args, dir: &Path) -> Failure {
    match error {
        FitError::Stopped { epoch, checkpoint } => {
            let kept = match checkpoint {
                Some(path) => format!("{} is intact", path.display()),
                None => "there is no checkpoint yet".into(),
            };
            let command = train_command(args, dir) + " --resume";
            Failure::Interrupted(format!(
                "stopped in epoch {epoch}; {kept}; go on with:\n  {command}"
            ))
        }
        FitError::Device(error) => Failure::Misuse(format!("--device: {error}")),
        FitError::Recipe(error) => Failure::Failed(format!("{}: {error}", args.recipe.display())),
        FitError::Mismatch { .. } => Failure::Failed(format!("{}: {error}", args.recipe.display())),
        other => Failure::Failed(other.to_string()),
    }
}

/// What was typed, without what belongs to one moment only.
fn train_command(args: &Args, dir: &Path) -> String {
    let mut words = vec![
        "onebit".to_string(),
        "train".into(),
        quoted(&args.recipe.display().to_string()),
    ];
    if let Some(data) = &args.data {
        words.extend(["--data".into(), quoted(data)]);
    }
    if let Some(name) = &args.name {
        words.extend(["--name".into(), quoted(name)]);
    }
    for change in &args.changes {
        words.extend(["--set".into(), quoted(change)]);
    }
    words.extend(["--out".into(), quoted(&dir.display().to_string())]);
    if args.threads > 0 {
        words.extend(["--threads".into(), args.threads.to_string()]);
    }
    if args.device != DeviceArg::Cpu {
        words.extend(["--device".into(), args.device.device().name().into()]);
    }
    words.join(" ")
}

fn commands(args: &Args, recipe: &Recipe, dir: &Path) -> Vec<String> {
    let model = quoted(
        &dir.join(format!("{}.bnn", recipe.name))
            .display()
            .to_string(),
    );
    let data = quoted(&recipe.data);
    vec![
        train_command(args, dir),
        format!("onebit eval {model} --data {data}"),
        format!("onebit verify {model} --data {data}"),
    ]
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("runs/a-b.c"), "runs/a-b.c");
        assert_eq!(quoted("my run"), "'my run'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
