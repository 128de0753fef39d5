//! `BatchNormalization` at inference: a scale and an offset per channel.

use super::constant::{Const, Data};
use super::live::Live;
use super::lower::Lower;
use super::proto::NodeProto;

impl Lower<'_> {
    /// The gain is `gamma / sqrt(variance + epsilon)` in binary32, as runtimes compute it; the offset that goes
    /// with it is rounded once.
    pub(super) fn batch_norm(&mut self, node: &NodeProto) -> Result<Live, String> {
        if node.int("training_mode").unwrap_or(0) != 0 {
            return Err("it is in training mode; call eval() before the export".into());
        }
        let x = self.live(node, 0)?;
        let channels = *x.dims.first().ok_or("its input has no channels")?;
        let mut parts = Vec::new();
        for idx in 1..5 {
            let part = self.constant(node, idx)?;
            if part.n_elements() != channels {
                return Err(format!(
                    "it has {} parameters for {channels} channels",
                    part.n_elements()
                ));
            }
            parts.push(part.floats());
        }
        let [gamma, beta, mean, variance] = parts.as_slice() else {
            return Err("it has four parameters per channel".into());
        };
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let gain = |c: usize| gamma[c] / (variance[c] + epsilon).sqrt();
        let gains: Vec<f32> = (0..channels).map(gain).collect();
        if let Some(c) = gains.iter().position(|gain| !gain.is_finite()) {
            let variance = variance[c];
            return Err(format!(
                "the variance of channel {c} is {variance}, which gives no finite gain"
            ));
        }
        let shift =
            |c: usize| (f64::from(beta[c]) - f64::from(mean[c]) * f64::from(gains[c])) as f32;
        let shifts: Vec<f32> = (0..channels).map(shift).collect();
        let mut shape = vec![1; x.dims.len()];
        shape[0] = channels;
        let gains = Const::new(shape.clone(), Data::F32(gains))?;
        let shifts = Const::new(shape, Data::F32(shifts))?;
        let (x, gains) = self.along(x, &gains)?;
        let (x, shifts) = self.along(x, &shifts)?;
        self.scaled(x, &gains, &shifts)
    }
}
