//! What the trained network's real parts cost beside its bits, for `doctor`.
//!
//! In: a run folder. Out: the steps of its lowered network that compute with reals or wide integers, and their
//! shares of work, energy and bytes. The counts themselves are `statistics`'.

use std::path::Path;

use onebit_train::doctor::{Finding, Problem};
use serde_json::{Value, json};

use crate::error::Failure;
use crate::modelfile;
use crate::statistics::{self, LayerStatistics};
use crate::table::{Align, Table, grouped, percent, shortened};

/// More of the estimated arithmetic energy, or of the bytes, in products of reals than this share is a finding.
const MOST_REAL: f64 = 0.5;
/// Longest layer name in the table.
const NAME_WIDTH: usize = 24;

/// A step that computes with reals or wide integers.
#[derive(Clone, Debug)]
struct RealStep {
    name: String,
    op: &'static str,
    /// Products and sums of reals, and products of integers, for one image.
    macs: u64,
    /// Share of the network's estimated arithmetic energy.
    energy_share: f64,
    bytes: u64,
    /// Whether the step multiplies by a matrix of reals, which a recipe could make binary.
    is_real_product: bool,
}

/// The lowered network's cost.
#[derive(Clone, Debug)]
pub struct Cost {
    steps: Vec<RealStep>,
    bit_macs: u64,
    macs: u64,
    bytes: u64,
    net_bytes: usize,
}

/// The cost of a run's best Net; `None` before the last stage has written one.
pub fn of_run(run: &Path) -> Result<Option<Cost>, Failure> {
    let path = run.join("best.net");
    if !path.exists() {
        return Ok(None);
    }
    let model = modelfile::load(&path)?;
    let layers = statistics::layers(&model.program, &model.types);
    Ok(Some(of_layers(&layers, model.n_bytes)))
}

fn of_layers(layers: &[LayerStatistics], net_bytes: usize) -> Cost {
    let totals = statistics::totals(layers);
    let all = totals.work.estimate().compute;
    let steps: Vec<RealStep> = layers
        .iter()
        .filter_map(|layer| {
            let work = &layer.work;
            let macs = work.float_macs + work.float_adds + work.int8_macs + work.int32_macs;
            let is_product = layer.n_weights > 0;
            (macs > 0).then(|| RealStep {
                name: layer.name.clone(),
                op: layer.op,
                macs,
                energy_share: share(work.estimate().compute, all),
                bytes: layer.bytes,
                is_real_product: is_product && layer.weight_bits == 32,
            })
        })
        .collect();
    Cost {
        macs: steps.iter().map(|step| step.macs).sum(),
        steps,
        bit_macs: totals.bit_macs,
        bytes: totals.bytes,
        net_bytes,
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Cost {
    fn byte_share(&self, step: &RealStep) -> f64 {
        share(step.bytes as f64, self.bytes as f64)
    }

    /// A line of totals, then a table of the real steps if there are any.
    pub fn text(&self) -> String {
        let all = (self.bit_macs + self.macs) as f64;
        let total = format!(
            "{} bit-MACs and {} real MACs ({}) an image; {} bytes of weights and constants, {} in best.net",
            grouped(self.bit_macs),
            grouped(self.macs),
            percent(share(self.macs as f64, all)),
            grouped(self.bytes),
            grouped(self.net_bytes as u64)
        );
        if self.steps.is_empty() {
            return format!("{total}; every step is bitwise");
        }
        let mut table = Table::new(&[
            ("real step", Align::Left),
            ("op", Align::Left),
            ("real MACs", Align::Right),
            ("of the energy", Align::Right),
            ("bytes", Align::Right),
            ("of the bytes", Align::Right),
        ]);
        for step in &self.steps {
            table.row(vec![
                shortened(&step.name, NAME_WIDTH),
                step.op.into(),
                grouped(step.macs),
                percent(step.energy_share),
                grouped(step.bytes),
                percent(self.byte_share(step)),
            ]);
        }
        format!("{total}\n{}", table.text())
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                json!({
                    "name": step.name,
                    "op": step.op,
                    "macs": step.macs,
                    "share_of_energy": step.energy_share,
                    "bytes": step.bytes,
                    "share_of_bytes": self.byte_share(step),
                })
            })
            .collect();
        json!({
            "bit_macs": self.bit_macs,
            "macs": self.macs,
            "bytes": self.bytes,
            "net_bytes": self.net_bytes,
            "real_steps": steps,
        })
    }
}

/// The finding about products of reals that cost more than everything else, if there are such.
pub fn finding(cost: &Cost) -> Option<Finding> {
    let mut real: Vec<&RealStep> = cost.steps.iter().filter(|s| s.is_real_product).collect();
    let energy: f64 = real.iter().map(|step| step.energy_share).sum();
    let bytes: f64 = real.iter().map(|step| cost.byte_share(step)).sum();
    if energy <= MOST_REAL && bytes <= MOST_REAL {
        return None;
    }
    real.sort_by(|a, b| b.energy_share.total_cmp(&a.energy_share));
    Some(Finding {
        problem: Problem::RealLayers,
        layers: real.iter().map(|step| step.name.clone()).collect(),
        seen: format!(
            "Real weights take {} of the estimated arithmetic energy and {} of the bytes.",
            percent(energy),
            percent(bytes)
        ),
        advice: "Set `form = \"sign\"` in these layers' `weights`, or `form = \"dorefa\"` with `bits = 8` to keep most of their precision."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::program::Kind;
    use onebit_model::verify;
    use onebit_model::weights::{BitMatrix, Matrix, Weights};

    /// 16 bits to 8 integers with bits, and as many reals from them with real weights.
    fn cost(with_real_product: bool) -> Cost {
        let mut b = ProgramBuilder::new("net", Kind::Bits, &[16]);
        let bits = Weights::Bits(BitMatrix::zeros(8, 16));
        let mut x = b.dense("bits", b.input(), bits, None);
        if with_real_product {
            let real = Weights::Real(Matrix::from_fn(8, 8, |_, _| 0.5));
            x = b.affine("scaled", x, vec![1.0; 8], vec![0.0; 8]);
            x = b.dense("real", x, real, None);
        }
        let program = b.finish(x).unwrap();
        of_layers(
            &statistics::layers(&program, &verify(&program).unwrap()),
            100,
        )
    }

    #[test]
    fn a_bitwise_network_has_no_real_steps() {
        let cost = cost(false);
        assert_eq!((cost.bit_macs, cost.macs, cost.steps.len()), (128, 0, 0));
        assert_eq!(finding(&cost), None);
        assert!(cost.text().ends_with("every step is bitwise"));
    }

    #[test]
    fn real_products_that_cost_most_are_found() {
        let cost = cost(true);
        assert_eq!((cost.bit_macs, cost.macs), (128, 8 + 64));
        let names: Vec<&str> = cost.steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["scaled", "real"]);
        let sum: f64 = cost.steps.iter().map(|step| step.energy_share).sum();
        assert!(sum > 0.9 && sum < 1.0, "{sum}");
        let found = finding(&cost).unwrap();
        assert_eq!(found.layers, ["real"]);
        // Bits take 16 bytes, factors and offsets 64, reals 256.
        assert!(
            found.seen.contains("76.19 % of the bytes"),
            "{}",
            found.seen
        );
        assert_eq!(cost.json()["real_steps"][1]["macs"], 64);
    }
}
