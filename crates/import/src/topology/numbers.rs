//! Numbers of a topology as the constants of a Program.
//!
//! Comparisons keep their meaning to the bit: a cut between two values of the operand moves to the upper one.

use onebit_model::program::{Cuts, Kind, ThresholdValues};

/// What an operand is compared with, in its own kind.
pub(super) enum Compared {
    Int(Vec<i32>),
    Real(Vec<f32>),
}

/// The constants for which `x >= constant` is `x >= value`, whatever `x` of this kind is.
pub(super) fn compared(values: &[f64], kind: Kind) -> Result<Compared, String> {
    if let Some(at) = values.iter().position(|value| value.is_nan()) {
        return Err(format!(
            "number {at} is NaN, which nothing can be compared with"
        ));
    }
    if kind == Kind::Real {
        return Ok(Compared::Real(
            values.iter().map(|&value| least_f32(value)).collect(),
        ));
    }
    let integers = values.iter().enumerate().map(|(at, &value)| {
        let least = value.ceil();
        let fits = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&least);
        fits.then_some(least as i32)
            .ok_or_else(|| format!("number {at} is {value}, beyond 32-bit integers"))
    });
    integers.collect::<Result<_, _>>().map(Compared::Int)
}

impl From<Compared> for ThresholdValues {
    fn from(compared: Compared) -> Self {
        match compared {
            Compared::Int(values) => ThresholdValues::Int(values),
            Compared::Real(values) => ThresholdValues::Real(values),
        }
    }
}

impl From<Compared> for Cuts {
    fn from(compared: Compared) -> Self {
        match compared {
            Compared::Int(values) => Cuts::Int(values),
            Compared::Real(values) => Cuts::Real(values),
        }
    }
}

/// The least binary32 number that is not below `value`.
fn least_f32(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) < value {
        nearest.next_up()
    } else {
        nearest
    }
}

/// Numbers as finite binary32, each rounded once.
pub(super) fn reals(values: &[f64]) -> Result<Vec<f32>, String> {
    let narrow = |(at, &value): (usize, &f64)| {
        let narrow = value as f32;
        narrow
            .is_finite()
            .then_some(narrow)
            .ok_or_else(|| format!("number {at} is {value}, not a finite 32-bit number"))
    };
    values.iter().enumerate().map(narrow).collect()
}

/// Numbers as 32-bit integers; `None` if one is not.
pub(super) fn integers(values: &[f64]) -> Option<Vec<i32>> {
    let integer = |&value: &f64| {
        let fits = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value);
        (fits && value.fract() == 0.0).then_some(value as i32)
    };
    values.iter().map(integer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_move_to_the_next_value_of_the_operand() {
        let Ok(Compared::Int(cuts)) = compared(&[-0.5, 2.0, 2.25], Kind::Int) else {
            panic!("integers")
        };
        assert_eq!(cuts, [0, 2, 3]);
        let Ok(Compared::Real(cuts)) = compared(&[0.1, 0.5], Kind::Real) else {
            panic!("reals")
        };
        assert_eq!(cuts[1], 0.5);
        assert!(f64::from(cuts[0]) >= 0.1 && f64::from(cuts[0].next_down()) < 0.1);
        assert!(compared(&[f64::NAN], Kind::Real).is_err());
        assert!(compared(&[3e9], Kind::Levels(8)).is_err());
    }
}
