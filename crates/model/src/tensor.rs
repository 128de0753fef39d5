//! Tensor: the elements of one value for one image, unpacked, one Rust number each.
//!
//! It is the plain currency between the interpreter, the evaluator and the tests. Elements are in
//! row-major, channels-last order; the shape lives in the value's `Type`. Packed forms for speed
//! are the business of `run`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::program::{Kind, Type};

/// The elements of one value for one image, in row-major, channels-last order.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// `true` is +1, `false` is -1.
    Bits(Vec<bool>),
    /// Unsigned codes.
    Levels(Vec<u8>),
    /// Integers.
    Int(Vec<i32>),
    /// IEEE binary32 numbers.
    Real(Vec<f32>),
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Tensor::Bits(x) => x.len(),
            Tensor::Levels(x) => x.len(),
            Tensor::Int(x) => x.len(),
            Tensor::Real(x) => x.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says why this tensor is not a value of type `ty`, if it is not: another kind, another
    /// number of elements, or a code that needs more bits.
    pub fn check(&self, ty: &Type) -> Result<(), String> {
        let kinds_agree = matches!(
            (self, ty.kind),
            (Tensor::Bits(_), Kind::Bits)
                | (Tensor::Levels(_), Kind::Levels(_))
                | (Tensor::Int(_), Kind::Int)
                | (Tensor::Real(_), Kind::Real)
        );
        if !kinds_agree {
            return Err(format!("the value holds {}, not {ty}", self.kind_name()));
        }
        if self.len() != ty.n_elements() {
            let (found, wanted) = (self.len(), ty.n_elements());
            return Err(format!("the value has {found} elements, {ty} has {wanted}"));
        }
        if let (Tensor::Levels(codes), Kind::Levels(bits)) = (self, ty.kind) {
            let over = codes.iter().position(|&code| u32::from(code) >> bits != 0);
            if let Some(idx) = over {
                let code = codes[idx];
                return Err(format!("element {idx} is {code}, too large for {ty}"));
            }
        }
        Ok(())
    }

    /// The index of the first element in which the two differ to the bit, or `Some(0)` when kinds
    /// or lengths differ. All NaN are equal, whatever their bits; -0 and +0 differ.
    pub fn first_difference(&self, other: &Tensor) -> Option<usize> {
        if self.len() != other.len() {
            return Some(0);
        }
        match (self, other) {
            (Tensor::Bits(a), Tensor::Bits(b)) => a.iter().zip(b).position(|(a, b)| a != b),
            (Tensor::Levels(a), Tensor::Levels(b)) => a.iter().zip(b).position(|(a, b)| a != b),
            (Tensor::Int(a), Tensor::Int(b)) => a.iter().zip(b).position(|(a, b)| a != b),
            (Tensor::Real(a), Tensor::Real(b)) => {
                let mut pairs = a.iter().zip(b);
                let differ = |a: f32, b: f32| a.to_bits() != b.to_bits();
                pairs.position(|(&a, &b)| differ(a, b) && !(a.is_nan() && b.is_nan()))
            }
            _ => Some(0),
        }
    }

    fn kind_name(&self) -> &'static str {
        match self {
            Tensor::Bits(_) => "bits",
            Tensor::Levels(_) => "levels",
            Tensor::Int(_) => "int",
            Tensor::Real(_) => "real",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn check_names_each_way_to_be_wrong() {
        let ty = Type {
            kind: Kind::Levels(3),
            shape: vec![2],
        };
        assert!(Tensor::Levels(vec![0, 7]).check(&ty).is_ok());
        assert!(
            Tensor::Levels(vec![0, 8])
                .check(&ty)
                .unwrap_err()
                .contains("too large")
        );
        assert!(
            Tensor::Levels(vec![0])
                .check(&ty)
                .unwrap_err()
                .contains("1 elements")
        );
        assert!(
            Tensor::Int(vec![0, 1])
                .check(&ty)
                .unwrap_err()
                .contains("holds int")
        );
    }

    #[test]
    fn first_difference_is_to_the_bit() {
        let zero = Tensor::Real(vec![1.0, 0.0]);
        assert_eq!(
            zero.first_difference(&Tensor::Real(vec![1.0, -0.0])),
            Some(1)
        );
        let nan = Tensor::Real(vec![f32::NAN]);
        assert_eq!(nan.first_difference(&nan), None);
        let other = Tensor::Real(vec![f32::from_bits(0xff80_0001)]);
        assert_eq!(nan.first_difference(&other), None);
        assert_eq!(
            nan.first_difference(&Tensor::Real(vec![f32::INFINITY])),
            Some(0)
        );
        assert_eq!(nan.first_difference(&Tensor::Int(vec![0])), Some(0));
    }
}
