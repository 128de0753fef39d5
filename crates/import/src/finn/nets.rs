//! The published networks of BNN-PYNQ, as data.
//!
//! Parameter folders hold numbers only; what they are the parameters of is one of the rows here. Owns the
//! tables and the choice among them. Leaves reading the numbers to `folds`.

use std::path::Path;

use crate::error::ImportError;
use crate::finn::files::{Folder, Part};

/// A network that the project has published, with the folding of its layers over processing elements.
#[derive(Debug)]
pub(super) struct Net {
    /// The name of its folder.
    pub name: &'static str,
    pub input: Input,
    /// 1: -1 and +1; 2: -1, 0 and +1 in two's complement.
    pub weight_bits: usize,
    /// 1: one threshold per neuron; 2: two, for the values -1, 0 and +1.
    pub activation_bits: usize,
    /// Whether the last layer has thresholds, one per class whatever `activation_bits` is.
    pub has_last_threshold: bool,
    pub layers: &'static [Layer],
}

/// What an image becomes before the first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// 28 x 28 grey pixels: one bit each, set from 128.
    Binary,
    /// 32 x 32 pixels of three channels: 8-bit fixed point in units of 1/128.
    FixedPoint,
}

/// A layer and its folding.
#[derive(Debug)]
pub(super) struct Layer {
    pub kind: LayerKind,
    /// Neurons, padding of the last layer included; a multiple of `pe`.
    pub rows: usize,
    /// Synapses per neuron that have an input.
    pub used_cols: usize,
    /// Synapses per neuron with padding; a multiple of `simd`.
    pub cols: usize,
    /// Synapses in one word.
    pub simd: usize,
    /// Processing elements: files of each kind.
    pub pe: usize,
}

/// What a layer does with its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerKind {
    Dense,
    /// 3 x 3, stride 1, no padding.
    Conv,
    /// [`LayerKind::Conv`], then after its activation a 2 x 2 maximum.
    ConvPool,
}

impl Layer {
    /// Rows that one processing element computes, one after the other.
    pub fn neuron_folds(&self) -> usize {
        self.rows / self.pe
    }

    /// Words that one row takes.
    pub fn synapse_folds(&self) -> usize {
        self.cols / self.simd
    }
}

const fn layer(kind: LayerKind, shape: [usize; 2], simd: usize, pe: usize) -> Layer {
    let [cols, rows] = shape;
    Layer {
        kind,
        rows,
        used_cols: cols,
        cols,
        simd,
        pe,
    }
}

/// 784 pixels, padded to whole words.
const LFC_FIRST: Layer = Layer {
    kind: LayerKind::Dense,
    rows: 1024,
    used_cols: 784,
    cols: 832,
    simd: 64,
    pe: 32,
};

const LFC: &[Layer] = &[
    LFC_FIRST,
    layer(LayerKind::Dense, [1024, 1024], 32, 64),
    layer(LayerKind::Dense, [1024, 1024], 64, 32),
    layer(LayerKind::Dense, [1024, 64], 8, 16),
];

const CNV_W1: &[Layer] = &[
    layer(LayerKind::Conv, [27, 64], 3, 16),
    layer(LayerKind::ConvPool, [576, 64], 32, 32),
    layer(LayerKind::Conv, [576, 128], 32, 16),
    layer(LayerKind::ConvPool, [1152, 128], 32, 16),
    layer(LayerKind::Conv, [1152, 256], 32, 4),
    layer(LayerKind::Conv, [2304, 256], 32, 1),
    layer(LayerKind::Dense, [256, 512], 4, 1),
    layer(LayerKind::Dense, [512, 512], 8, 1),
    layer(LayerKind::Dense, [512, 64], 1, 4),
];

const CNV_W2: &[Layer] = &[
    layer(LayerKind::Conv, [27, 64], 3, 8),
    layer(LayerKind::ConvPool, [576, 64], 16, 16),
    layer(LayerKind::Conv, [576, 128], 16, 8),
    layer(LayerKind::ConvPool, [1152, 128], 16, 8),
    layer(LayerKind::Conv, [1152, 256], 8, 4),
    layer(LayerKind::Conv, [2304, 256], 8, 1),
    layer(LayerKind::Dense, [256, 512], 2, 1),
    layer(LayerKind::Dense, [512, 512], 2, 2),
    layer(LayerKind::Dense, [512, 64], 1, 4),
];

/// Every network that is known.
pub(super) const NETS: &[Net] = &[
    Net {
        name: "lfcW1A1",
        input: Input::Binary,
        weight_bits: 1,
        activation_bits: 1,
        has_last_threshold: true,
        layers: LFC,
    },
    Net {
        name: "lfcW1A2",
        input: Input::Binary,
        weight_bits: 1,
        activation_bits: 2,
        has_last_threshold: true,
        layers: LFC,
    },
    Net {
        name: "cnvW1A1",
        input: Input::FixedPoint,
        weight_bits: 1,
        activation_bits: 1,
        has_last_threshold: false,
        layers: CNV_W1,
    },
    Net {
        name: "cnvW1A2",
        input: Input::FixedPoint,
        weight_bits: 1,
        activation_bits: 2,
        has_last_threshold: false,
        layers: CNV_W1,
    },
    Net {
        name: "cnvW2A2",
        input: Input::FixedPoint,
        weight_bits: 2,
        activation_bits: 2,
        has_last_threshold: false,
        layers: CNV_W2,
    },
];

/// Classes of a folder that does not name them: digits or CIFAR-10.
pub(super) const DEFAULT_CLASSES: usize = 10;

impl Net {
    /// Thresholds per neuron of layer `layer_idx`; 0 where it has none.
    pub fn thresholds_per_row(&self, layer_idx: usize) -> usize {
        let is_last = layer_idx + 1 == self.layers.len();
        match (is_last, self.has_last_threshold) {
            (false, _) => self.activation_bits,
            (true, true) => 1,
            (true, false) => 0,
        }
    }

    fn pe_counts(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.pe).collect()
    }
}

/// The network whose parameters a folder holds.
///
/// Layers and processing elements are counted; where they are those of two networks, the first file of
/// thresholds tells how many a neuron has.
pub(super) fn recognise(path: &Path, folder: &Folder) -> Result<&'static Net, ImportError> {
    let found = folder.pe_counts();
    let candidates: Vec<&Net> = NETS.iter().filter(|net| net.pe_counts() == found).collect();
    let [first, ..] = candidates[..] else {
        return Err(unknown(path, folder, &found));
    };
    let Some(bytes) = folder.file(0, 0, Part::Thresholds) else {
        let reason = "is missing; get the folder again";
        return Err(ImportError::malformed(
            path,
            folder.place(0, 0, Part::Thresholds),
            reason,
        ));
    };
    let per_threshold = 8 * first.layers[0].neuron_folds();
    let chosen = candidates
        .iter()
        .find(|net| bytes.len() == per_threshold * net.activation_bits);
    chosen.copied().ok_or_else(|| {
        let sizes: Vec<String> = candidates
            .iter()
            .map(|net| format!("{} in {}", per_threshold * net.activation_bits, net.name))
            .collect();
        let reason = format!(
            "has {} bytes; it has {}: get the folder again",
            bytes.len(),
            sizes.join(" and ")
        );
        ImportError::malformed(path, folder.place(0, 0, Part::Thresholds), reason)
    })
}

fn unknown(path: &Path, folder: &Folder, found: &[usize]) -> ImportError {
    let known: Vec<String> = NETS
        .iter()
        .map(|net| format!("{} has {:?}", net.name, net.pe_counts()))
        .collect();
    let reason = format!(
        "has {} layers of {found:?} processing elements, which is no published BNN-PYNQ network ({}); \
         if a file is missing, get the folder again",
        found.len(),
        known.join(", ")
    );
    ImportError::malformed(path, folder.name(), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_is_whole_and_every_word_fits_64_bits() {
        for net in NETS {
            for (idx, layer) in net.layers.iter().enumerate() {
                let at = format!("{} layer {idx}", net.name);
                assert_eq!(layer.rows % layer.pe, 0, "{at}");
                assert_eq!(layer.cols % layer.simd, 0, "{at}");
                assert!(layer.simd * net.weight_bits <= 64, "{at}");
                assert!(layer.used_cols <= layer.cols, "{at}");
            }
        }
    }
}
