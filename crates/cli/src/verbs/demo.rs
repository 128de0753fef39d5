//! `onebit demo`: the whole path on the embedded digits, in seconds, without network or files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use onebit_data::{Dataset, Features, digits};
use onebit_model::Evaluator;
use onebit_run::bench::{BenchOptions, bench};
use onebit_run::{Plan, PlanOptions};
use onebit_train::device::DeviceName;
use onebit_train::fit::{Event, FitError, FitOptions, Outcome, TestReport, fit};
use onebit_train::recipe::Recipe;

use crate::draw::{Picture, image_shape, n_beside, row};
use crate::engine::{Engine, n_threads, parse_threads};
use crate::error::Failure;
use crate::examples::{Examples, from_split};
use crate::finish::{self, Finished, Job};
use crate::output::say;
use crate::progress::{Detail, Training};
use crate::signals::Signals;
use crate::table::{Align, Table, grouped, percent, with_prefix};

/// What is trained.
const RECIPE: &str = include_str!("demo.toml");

/// Time for each measurement of speed.
const MEASURE: Duration = Duration::from_millis(300);

/// Train, prove and run a small network on built-in digits; needs no files and no network
#[derive(clap::Args)]
pub struct Args {
    /// Folder for the report and the trained network
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Threads; 0 is all cores
    #[arg(long, default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    // Nothing else runs yet. Training is as right where the allocator has no such setting, and slower.
    onebit_bits::memory::keep_freed();
    let began = Instant::now();
    let recipe = Recipe::parse(RECIPE).expect("the embedded recipe is read by a test");
    let data = digits();
    let threads = n_threads(args.threads);
    say(
        "onebit demo: train a network of single bits on handwritten digits, lower it to a bitwise program,",
    )?;
    say("prove the two equal and run it. Everything is built in; this takes well under a minute.")?;
    say("")?;
    say(format!(
        "data      digits: {} training and {} test images of 8x8 pixels, 10 classes",
        grouped(data.train.len() as u64),
        data.test.len()
    ))?;
    say(format!(
        "train     {} epochs of bits, then a float32 twin for comparison, on {threads} thread{} ...",
        recipe
            .stages
            .iter()
            .map(|stage| stage.epochs)
            .sum::<usize>(),
        if threads == 1 { "" } else { "s" }
    ))?;
    let outcome = train(args, &recipe, &data, threads)?;
    let seconds: f64 = outcome
        .history
        .iter()
        .filter(|r| finish::is_bitwise(r))
        .map(|r| r.seconds)
        .sum();
    say(format!(
        "          done in {:.1} s, {seconds:.1} s of it for the bits",
        began.elapsed().as_secs_f64()
    ))?;
    let job = Job {
        recipe: &recipe,
        recipe_text: RECIPE,
        commands: vec!["onebit demo".into()],
        data: &data,
        outcome: &outcome,
        dir: &args.out,
        threads,
        prove: None,
    };
    let finished = finish::prove(&job)?;
    say(format!(
        "lower     {} {} bit weights become {} ops",
        finish::topology(&job),
        grouped(finished.totals.n_weights),
        finished.program.nodes.len()
    ))?;
    say(format!(
        "prove     {} give the same bits in every layer for all {} test images",
        finished.engines.join(", "),
        finished.test.total
    ))?;
    say("")?;
    say(comparison(&outcome, &finished, &data)?.text())?;
    say("")?;
    say(pictures(&data, &finished))?;
    finish::write(&job, &finished)?;
    say("")?;
    say(format!(
        "report    {}",
        args.out.join("report.html").display()
    ))?;
    say(format!(
        "network   {} ({} bytes)",
        args.out.join("demo.bnn").display(),
        grouped(finished.n_bytes as u64)
    ))?;
    say(format!(
        "next      onebit inspect {0}; onebit bench {0}",
        args.out.join("demo.bnn").display()
    ))?;
    say(format!(
        "          {:.1} s in all",
        began.elapsed().as_secs_f64()
    ))
}

fn train(args: &Args, recipe: &Recipe, data: &Dataset, threads: usize) -> Result<Outcome, Failure> {
    let signals = Signals::listen()?;
    let options = FitOptions {
        run_dir: args.out.clone(),
        resume: false,
        threads,
        device: DeviceName::Cpu,
    };
    let mut training = Training::new(recipe, Detail::Stages);
    let fitted = fit(recipe, data, &options, &signals.stop, &mut |event| {
        training.event(&event);
        if let Event::Testing = event {
            signals.end_at_once();
        }
    });
    training.finish();
    fitted.map_err(|error| match error {
        FitError::Stopped { .. } => {
            Failure::Interrupted("stopped; start again with: onebit demo".into())
        }
        other => Failure::Failed(other.to_string()),
    })
}

/// Bits against float32: accuracy, size, speed.
fn comparison(outcome: &Outcome, finished: &Finished, data: &Dataset) -> Result<Table, Failure> {
    let examples = from_split(data, &data.test, &finished.program.input)?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("bits", Align::Right),
        ("float32", Align::Right),
    ]);
    let twin = outcome
        .twin
        .as_ref()
        .map_or(String::new(), |twin| percent(twin.accuracy()));
    table.row(vec![
        "test accuracy".into(),
        percent(finished.test.accuracy()),
        twin,
    ]);
    let errors = |report: &TestReport| (report.total - report.correct).to_string();
    let twin_errors = outcome.twin.as_ref().map_or(String::new(), errors);
    table.row(vec![
        format!("errors in {}", finished.test.total),
        errors(&finished.test),
        twin_errors,
    ]);
    table.row(vec![
        "size in bytes".into(),
        grouped(finished.n_bytes as u64),
        grouped(finished.totals.f32_bytes),
    ]);
    let float = float_rate(outcome, &examples)?;
    let (one, _) = rate(finished, 1)?;
    let (many, isa) = rate(finished, 256)?;
    let images = |rate: f64| format!("{} images/s", with_prefix(rate));
    table.row(vec![
        format!("speed, one image ({isa})"),
        images(one),
        images(float),
    ]);
    table.row(vec![
        format!("speed, batch 256 ({isa})"),
        images(many),
        String::new(),
    ]);
    Ok(table)
}

/// Images a second on one thread, and the instruction set.
fn rate(finished: &Finished, batch: usize) -> Result<(f64, &'static str), Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let Engine::Isa(isa) = Engine::fastest()? else {
        unreachable!("the fastest engine is never the interpreter")
    };
    let plan = Plan::new(&finished.program, &PlanOptions { isa, threads: 1 })
        .map_err(|error| fail(&error))?;
    let report = bench(
        &plan,
        &BenchOptions {
            batch,
            duration: MEASURE,
        },
    )
    .map_err(|error| fail(&error))?;
    Ok((report.images_per_s, isa.name()))
}

/// Images a second of the same layers in float32 arithmetic, one image at a time on one thread.
fn float_rate(outcome: &Outcome, examples: &Examples) -> Result<f64, Failure> {
    let evaluator =
        Evaluator::new(&outcome.net).map_err(|error| Failure::Failed(error.to_string()))?;
    let began = Instant::now();
    let mut n = 0;
    while began.elapsed() < MEASURE {
        std::hint::black_box(evaluator.evaluate(&examples.tensor(n % examples.n)));
        n += 1;
    }
    Ok(n as f64 / began.elapsed().as_secs_f64())
}

/// A few test images with what the bits make of them; the last one is a mistake if there is any.
fn pictures(data: &Dataset, finished: &Finished) -> String {
    let (Some(shape), Features::U8(pixels)) = (image_shape(&data.shape), &data.test.features)
    else {
        return String::new();
    };
    let n = data.test.n_features();
    let label = |idx: usize| usize::from(data.test.labels[idx]);
    let wrong = (0..data.test.len()).find(|&idx| finished.classes[idx] != label(idx));
    let n_shown = n_beside(shape).min(data.test.len());
    let mut shown: Vec<usize> = (0..n_shown).collect();
    if let (Some(wrong), Some(last)) = (wrong, shown.last_mut()) {
        *last = (*last).max(wrong);
    }
    let picture = |idx: usize| {
        let class = finished.classes[idx];
        let caption = match class == label(idx) {
            true => format!("is a {class}"),
            false => format!("{class}, is {}", label(idx)),
        };
        Picture {
            pixels: &pixels[idx * n..][..n],
            shape,
            caption,
        }
    };
    row(&shown.into_iter().map(picture).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_recipe_is_well_formed() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        assert_eq!(recipe.data, "digits");
        assert!(recipe.twin.is_some());
    }
}
