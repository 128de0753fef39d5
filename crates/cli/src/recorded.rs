//! Answers of this engine against answers that somebody else's engine gave.
//!
//! In: [`Answers`] and an array from a file. Out: a [`Comparison`]. Integers must be equal. Reals of engines
//! that sum in another order differ in their last bits, so for them there is a tolerance.

use onebit_data::{Array, ArrayData};
use serde_json::{Value, json};

use crate::engine::Answers;

/// What was compared and how far apart it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Images.
    pub n_images: usize,
    /// Elements of one answer.
    pub width: usize,
    /// The largest difference that is allowed, as a share of the image's greatest finite recorded magnitude;
    /// `None` where answers are integers and must be equal.
    pub tolerance: Option<f64>,
    /// How many elements are too far apart.
    pub n_wrong: usize,
    /// The first of them.
    pub first_wrong: Option<Difference>,
    /// The element that is farthest apart, if any differs.
    pub worst: Option<Difference>,
}

/// One element of two answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The image, counted from 0.
    pub image: usize,
    /// The element of its answer.
    pub element: usize,
    /// This engine's number.
    pub found: f64,
    /// The recorded number.
    pub expected: f64,
    /// Their distance: of integers as it is, of reals as a share of the image's greatest recorded magnitude.
    pub distance: f64,
}

/// Compares `[n][width]` answers with a recorded array; `Err` says how its shape does not fit.
///
/// A real `a` agrees with a recorded `b` where `|a - b| <= tolerance * m`, and `m` is the greatest finite
/// recorded magnitude of the same image. Infinities agree where they are equal, a NaN with nothing.
pub fn compare(
    found: &Answers,
    expected: &Array,
    width: usize,
    tolerance: f64,
) -> Result<Comparison, String> {
    let (found, is_real): (Vec<f64>, bool) = match found {
        Answers::Int(x) => (x.iter().map(|&x| f64::from(x)).collect(), false),
        Answers::Real(x) => (x.iter().map(|&x| f64::from(x)).collect(), true),
    };
    let expected_values = numbers(&expected.data);
    let n_images = found.len() / width;
    let is_batch = expected.shape.first() == Some(&n_images);
    if !is_batch || expected_values.len() != found.len() {
        return Err(format!("has the shape {:?}", expected.shape));
    }
    let mut comparison = Comparison {
        n_images,
        width,
        tolerance: is_real.then_some(tolerance),
        n_wrong: 0,
        first_wrong: None,
        worst: None,
    };
    let images = found
        .chunks_exact(width)
        .zip(expected_values.chunks_exact(width));
    for (image, (found, expected)) in images.enumerate() {
        // An infinity would allow every difference.
        let finite = expected.iter().filter(|x| x.is_finite());
        let greatest = finite.fold(0f64, |most, x| most.max(x.abs()));
        for (element, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            if found == expected {
                continue;
            }
            let distance = match (found - expected).abs() {
                distance if is_real => distance / greatest,
                distance => distance,
            };
            let difference = Difference {
                image,
                element,
                found,
                expected,
                distance,
            };
            // A NaN is never within a tolerance.
            let is_close = is_real && distance <= tolerance;
            if !is_close {
                comparison.n_wrong += 1;
                comparison.first_wrong.get_or_insert(difference.clone());
            }
            let is_worst = |worst: &Difference| distance.is_nan() || distance > worst.distance;
            if comparison.worst.as_ref().is_none_or(is_worst) {
                comparison.worst = Some(difference);
            }
        }
    }
    Ok(comparison)
}

fn numbers(data: &ArrayData) -> Vec<f64> {
    match data {
        ArrayData::U8(x) => x.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::I8(x) => x.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::I32(x) => x.iter().map(|&x| f64::from(x)).collect(),
        ArrayData::I64(x) => x.iter().map(|&x| x as f64).collect(),
        ArrayData::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
    }
}

impl Comparison {
    /// In words, on one line.
    pub fn text(&self) -> String {
        let n = self.n_images * self.width;
        let rule = match self.tolerance {
            Some(tolerance) => {
                format!("{tolerance:e} of each image's greatest recorded answer allowed")
            }
            None => "integers must be equal".into(),
        };
        match (&self.first_wrong, &self.worst) {
            (Some(first), Some(worst)) => format!(
                "{} of {n} recorded answers differ ({rule}): first {}; worst {}",
                self.n_wrong,
                first.text(),
                worst.text()
            ),
            (None, Some(worst)) => format!(
                "all {n} answers of {} images agree ({rule}); worst difference {:.2e}: {}",
                self.n_images,
                worst.distance,
                worst.text()
            ),
            (_, None) => format!("all {n} answers of {} images are equal", self.n_images),
        }
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        json!({
            "images": self.n_images,
            "answers": self.n_images * self.width,
            "tolerance": self.tolerance,
            "worst": self.worst.as_ref().map_or(0.0, |worst| worst.distance),
            "agree": self.first_wrong.is_none(),
        })
    }
}

impl Difference {
    fn text(&self) -> String {
        format!(
            "image {}, element {} is {} instead of {}",
            self.image, self.element, self.found, self.expected
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], data: ArrayData) -> Array {
        Array {
            shape: shape.to_vec(),
            data,
        }
    }

    #[test]
    fn integers_must_be_equal() {
        let found = Answers::Int(vec![1, 2, 3, 4]);
        let same = array(&[2, 2], ArrayData::F32(vec![1.0, 2.0, 3.0, 4.0]));
        let equal = compare(&found, &same, 2, 0.5).unwrap();
        assert_eq!((equal.n_wrong, equal.worst), (0, None));
        let other = array(&[2, 1, 2], ArrayData::U8(vec![1, 2, 5, 5]));
        let differs = compare(&found, &other, 2, 0.5).unwrap();
        let first = differs.first_wrong.clone().unwrap();
        assert_eq!((first.image, first.element, first.distance), (1, 0, 2.0));
        assert_eq!(differs.n_wrong, 2);
        assert!(differs.text().starts_with("2 of 4 recorded answers differ (integers must be equal): first image 1, element 0 is 3 instead of 5"));
        assert!(compare(&found, &array(&[4], ArrayData::U8(vec![1; 4])), 2, 0.5).is_err());
        assert!(compare(&found, &array(&[2, 3], ArrayData::U8(vec![1; 6])), 2, 0.5).is_err());
    }

    #[test]
    fn reals_may_differ_by_a_share_of_the_image() {
        let found = Answers::Real(vec![1.0, 100.0, 0.0, f32::NAN]);
        let expected = array(&[2, 2], ArrayData::F32(vec![1.5, 100.0, 0.0, 1.0]));
        let loose = compare(&found, &expected, 2, 0.005).unwrap();
        assert_eq!(loose.n_wrong, 1);
        let first = loose.first_wrong.unwrap();
        assert_eq!((first.image, first.element), (1, 1));
        let strict = compare(&found, &expected, 2, 0.004).unwrap();
        assert_eq!(strict.n_wrong, 2);
        assert_eq!(strict.first_wrong.unwrap().distance, 0.005);
    }

    #[test]
    fn a_recorded_infinity_allows_no_other_difference() {
        let found = Answers::Real(vec![f32::INFINITY, 1.0, 7.0]);
        let expected = array(&[1, 3], ArrayData::F32(vec![f32::INFINITY, 1.0, 2.0]));
        let compared = compare(&found, &expected, 3, 0.1).unwrap();
        assert_eq!(compared.n_wrong, 1);
        assert_eq!(compared.first_wrong.unwrap().element, 2);
    }
}
