//! Trains a recipe from the library: `cargo run --release -p onebit-train --example fit -- RECIPE RUN_DIR THREADS`.

use std::sync::atomic::AtomicBool;

use onebit_train::fit::{Event, FitOptions, fit};
use onebit_train::recipe::Recipe;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, run_dir, threads] = &args[..] else {
        return Err("usage: fit RECIPE RUN_DIR THREADS".into());
    };
    let recipe = Recipe::parse(&std::fs::read_to_string(recipe)?)?;
    let data = onebit_data::open(&recipe.data)?;
    let options = FitOptions { run_dir: run_dir.into(), resume: true, threads: threads.parse()? };
    let outcome = fit(&recipe, &data, &options, &AtomicBool::new(false), &mut |event| {
        if let Event::Epoch(r) = event {
            println!(
                "{:?} {} epoch {}: loss {:.4} train {:.4} val {:.4} flip {:.6} starved {:.3} lr {:.2e} {:.2} s",
                r.kind, r.phase, r.epoch, r.loss, r.train_accuracy, r.val_accuracy, r.flip_ratio, r.starved, r.lr, r.seconds
            );
        }
    })?;
    println!("best {:?} test {:.4} twin {:?}", outcome.best, outcome.test.accuracy(), outcome.twin.map(|t| t.accuracy()));
    Ok(())
}
