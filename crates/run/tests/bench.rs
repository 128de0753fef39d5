//! The benchmark's report is consistent; nothing here depends on how fast the machine is.

use std::time::Duration;

use onebit_run::bench::{BenchOptions, bench};
use onebit_run::{Plan, PlanOptions};
use onebit_testkit::random_program;

#[test]
fn reports_cover_every_layer_of_any_program() {
    for seed in 0..40 {
        let program = random_program(seed);
        let plan = Plan::new(&program, &PlanOptions::default()).expect("a plan");
        let options = BenchOptions {
            batch: 1 + seed as usize,
            duration: Duration::from_micros(10),
        };
        let report = bench(&plan, &options).expect("a report");
        assert_eq!(
            report.layers.len(),
            plan.layers(options.batch).len(),
            "program seed {seed}"
        );
        assert_eq!(report.batch, options.batch);
        let shares: f64 = report.layers.iter().map(|layer| layer.share_of_time).sum();
        assert!(
            report.layers.is_empty() || (shares - 1.0).abs() < 1e-9,
            "program seed {seed}: {shares}"
        );
        for layer in &report.layers {
            let info = &layer.info;
            let bytes = info.weight_bytes + info.value_bytes * layer.tile;
            assert_eq!(layer.bytes, bytes, "program seed {seed}");
            let is_binary = info.bit_macs > 0;
            assert_eq!(
                layer.share_of_peak.is_some(),
                is_binary,
                "program seed {seed}"
            );
        }
        assert!(
            report.runs >= 1 && report.median_ms <= report.p99_ms,
            "program seed {seed}"
        );
    }
}
