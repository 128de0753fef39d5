//! The types of a data set in memory.
//!
//! Owns [`Features`], [`Split`] and [`Dataset`]: plain values that every reader fills and training reads.
//! Leaves reading to `open` and random choices to `split`.

/// The inputs of a split, `[n][features]`, row-major. A row is one example, flattened from its shape
/// (`[h][w][c]`, channels last, for images).
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Pixels or other integer levels, 0..=255.
    U8(Vec<u8>),
    /// Measurements; always finite.
    F32(Vec<f32>),
}

impl Features {
    /// Number of values over all examples.
    pub fn n_values(&self) -> usize {
        match self {
            Features::U8(values) => values.len(),
            Features::F32(values) => values.len(),
        }
    }

    /// The rows named by `indices`, in that order, of an array with `width` values a row.
    pub(crate) fn gather(&self, indices: &[usize], width: usize) -> Features {
        match self {
            Features::U8(values) => Features::U8(gather(values, indices, width)),
            Features::F32(values) => Features::F32(gather(values, indices, width)),
        }
    }
}

fn gather<T: Copy>(values: &[T], indices: &[usize], width: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(indices.len() * width);
    for &i in indices {
        out.extend_from_slice(&values[i * width..(i + 1) * width]);
    }
    out
}

/// Labelled examples: `features` holds `labels.len()` rows of equal width.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// `[n][features]`, row-major.
    pub features: Features,
    /// `[n]`, each below the set's `n_classes`.
    pub labels: Vec<u16>,
}

impl Split {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of values an example; 0 for an empty split.
    pub fn n_features(&self) -> usize {
        self.features
            .n_values()
            .checked_div(self.len())
            .unwrap_or(0)
    }

    /// The examples named by `indices`, in that order.
    ///
    /// # Panics
    /// Where an index is not below [`Split::len`].
    pub fn select(&self, indices: &[usize]) -> Split {
        Split {
            features: self.features.gather(indices, self.n_features()),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
        }
    }
}

/// A data set for classification.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// A short name for people and notes.
    pub name: String,
    /// Shape of one example: `[n]` for measurements, `[h, w, c]` for images.
    pub shape: Vec<usize>,
    /// Number of classes; every label of both splits is below it.
    pub n_classes: usize,
    /// One name for each class.
    pub class_names: Vec<String>,
    /// What a network learns from.
    pub train: Split,
    /// What it is judged by.
    pub test: Split,
}
