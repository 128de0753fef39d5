//! Trains from the library, without the command line.
//!
//! `cargo run --release -p onebit-train --example fit` trains a small recipe on the embedded digits;
//! `… --example fit -- RECIPE RUN_DIR THREADS` any recipe, resuming what the folder already holds.

use std::sync::atomic::AtomicBool;

use onebit_train::device::DeviceName;
use onebit_train::fit::{Event, FitOptions, fit};
use onebit_train::recipe::Recipe;

const DIGITS: &str = r#"
name = "digits"
data = "digits"
validation = 100
[input]
encoding = "thermometer"
cuts = [32, 96, 160, 224]
[model]
hidden = [64]
norm = "batch"
[[stage]]
kind = "bitwise"
epochs = 10
batch = 32
lr = 0.01
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    onebit_bits::memory::keep_freed();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (recipe, run_dir, threads) = match &args[..] {
        [] => (
            DIGITS.to_string(),
            std::env::temp_dir().join("onebit-example-fit"),
            0,
        ),
        [recipe, run_dir, threads] => (
            std::fs::read_to_string(recipe)?,
            run_dir.into(),
            threads.parse()?,
        ),
        _ => return Err("usage: fit [RECIPE RUN_DIR THREADS]".into()),
    };
    let recipe = Recipe::parse(&recipe)?;
    let data = onebit_data::open(&recipe.data)?;
    let options = FitOptions {
        run_dir,
        resume: !args.is_empty(),
        threads,
        device: DeviceName::Cpu,
    };
    let outcome = fit(
        &recipe,
        &data,
        &options,
        &AtomicBool::new(false),
        &mut |event| {
            if let Event::Epoch(r) = event {
                println!(
                    "{:?} {} epoch {}: loss {:.4} train {:.4} val {:.4} flip {:.6} starved {:.3} lr {:.2e} {:.2} s",
                    r.kind,
                    r.phase,
                    r.epoch,
                    r.loss,
                    r.train_accuracy,
                    r.val_accuracy,
                    r.flip_ratio,
                    r.starved,
                    r.lr,
                    r.seconds
                );
            }
        },
    )?;
    println!(
        "best {:?}, test {:.4}, twin {:?}",
        outcome.best,
        outcome.test.accuracy(),
        outcome.twin.map(|t| t.accuracy())
    );
    Ok(())
}
