//! Times the reference network 784-1024-1024-1024-10 on this machine.
//!
//! `ONEBIT_ISA=avx512 cargo run --release -p onebit-run --example bench_mlp -- THREADS BATCH...`

use std::error::Error;
use std::time::Duration;

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Program};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_run::bench::{BenchOptions, bench};
use onebit_run::{Isa, Plan, PlanOptions};

/// A network of these sizes with repeatable noise for weights.
fn network(sizes: &[usize]) -> Result<Program, Box<dyn Error>> {
    let mut state = 1u64;
    let mut bit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 63 == 1
    };
    let mut builder = ProgramBuilder::new("reference", Kind::Levels(8), &[sizes[0]]);
    let mut x = builder.threshold("pixels", builder.input(), vec![128; sizes[0]]);
    for (layer, size) in sizes.windows(2).enumerate() {
        let weights = Weights::Bits(BitMatrix::from_fn(size[1], size[0], |_, _| bit()));
        x = builder.dense(&format!("fc{layer}"), x, weights, None);
        if layer + 2 < sizes.len() {
            x = builder.threshold(&format!("sign{layer}"), x, vec![0; size[1]]);
        }
    }
    Ok(builder.finish(x)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .map(|x| x.parse())
        .collect::<Result<_, _>>()?;
    let threads = arguments.first().copied().unwrap_or(1);
    let batches = if arguments.len() > 1 {
        &arguments[1..]
    } else {
        &[1, 64, 256, 1024]
    };
    let program = network(&[784, 1024, 1024, 1024, 10])?;
    let plan = Plan::new(
        &program,
        &PlanOptions {
            isa: Isa::from_env()?,
            threads,
        },
    )?;
    for &batch in batches {
        let report = bench(
            &plan,
            &BenchOptions {
                batch,
                duration: Duration::from_millis(700),
            },
        )?;
        println!(
            "{} threads {threads} batch {batch}: median {:.2} us, p99 {:.2} us, min {:.2} us, \
             {:.0} images/s, {:.3} T bit-MAC/s, {:.1} % of {:.3} T",
            report.isa,
            report.median_ms * 1e3,
            report.p99_ms * 1e3,
            report.min_ms * 1e3,
            report.images_per_s,
            report.bit_macs_per_s / 1e12,
            report.share_of_peak * 100.0,
            report.peak.bit_macs_per_s / 1e12,
        );
        for layer in &report.layers {
            println!(
                "    {:12} {:18} {:9.2} us {:7.3} T bit-MAC/s {:8} bytes",
                layer.info.name,
                layer.info.kernel,
                layer.median_us,
                layer.bit_macs_per_s / 1e12,
                layer.info.weight_bytes,
            );
        }
    }
    Ok(())
}
