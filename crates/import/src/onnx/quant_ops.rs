//! What the QONNX quantisers mean: `Quant` and `BipolarQuant`, on constants and as a rule for activations.
//!
//! A node and its constant parameters come in; a [`Rule`] that quantises one number goes out, or the quantised
//! constant together with its integers. Turning a rule into cuts is left to `quant`.

use super::constant::{Const, Data, Quanta, check_grown};
use super::fold::{Operands, broadcast_index};
use super::proto::NodeProto;

/// How a number becomes an integer and how that becomes a number again.
pub(super) struct Rule {
    /// Least integer.
    pub min: i32,
    /// Greatest integer.
    pub max: i32,
    /// Every integer in between, or just the two ends (a sign).
    pub is_sign: bool,
    round: fn(f32) -> f32,
}

/// Whether a domain is one of those in which QONNX ops were published.
pub(super) fn is_quant_domain(domain: &str) -> bool {
    matches!(
        domain,
        "qonnx.custom_op.general" | "finn.custom_op.general" | "onnx.brevitas" | "qonnx.custom_op"
    )
}

impl Rule {
    /// The rule of a node whose bit width, where it has one, is the constant at position 3.
    pub(super) fn read(node: &NodeProto, operands: &Operands<'_>) -> Result<Rule, String> {
        if node.op_type == "BipolarQuant" {
            return Ok(Rule {
                min: -1,
                max: 1,
                is_sign: true,
                round: |x| x,
            });
        }
        let width = operands
            .get(3)?
            .uniform()
            .ok_or("its bit width is not one number")?;
        if width.fract() != 0.0 || !(1.0..=8.0).contains(&width) {
            return Err(format!(
                "its bit width is {width}; whole widths from 1 to 8 are possible"
            ));
        }
        let width = width as u32;
        let is_signed = node.int("signed").unwrap_or(1) != 0;
        let is_narrow = node.int("narrow").unwrap_or(0) != 0;
        if is_signed && width == 1 {
            // The reference of QONNX defines a signed quantiser of one bit as a sign.
            return Ok(Rule {
                min: -1,
                max: 1,
                is_sign: true,
                round: |x| x,
            });
        }
        let half = 1i32 << (width - 1);
        let narrow = i32::from(is_narrow);
        let (min, max) = if is_signed {
            (narrow - half, half - 1)
        } else {
            (0, 2 * half - 1 - narrow)
        };
        let round = rounding(node.text("rounding_mode").unwrap_or("ROUND"))?;
        Ok(Rule {
            min,
            max,
            is_sign: false,
            round,
        })
    }

    /// The integer of a number, in the order and precision of the reference.
    pub(super) fn code(&self, x: f32, scale: f32, zero: f32) -> i32 {
        let y = x / scale + zero;
        if self.is_sign {
            return if y >= 0.0 { 1 } else { -1 };
        }
        let clamped = y.min(self.max as f32).max(self.min as f32);
        (self.round)(clamped) as i32
    }
}

fn rounding(mode: &str) -> Result<fn(f32) -> f32, String> {
    Ok(match mode.to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => f32::round_ties_even,
        "CEIL" => f32::ceil,
        "FLOOR" => f32::floor,
        "DOWN" | "ROUND_TO_ZERO" => f32::trunc,
        "UP" => |x| x.abs().ceil().copysign(x),
        "HALF_UP" => |x| (x.abs() + 0.5).floor().copysign(x),
        "HALF_DOWN" => |x| (x.abs() - 0.5).ceil().copysign(x),
        _ => {
            return Err(format!(
                "rounding mode {mode:?} is not known; ROUND, CEIL, FLOOR and others are"
            ));
        }
    })
}

/// The scale and zero point of a quantiser; scales are positive and finite.
pub(super) fn parameters(
    node: &NodeProto,
    operands: &Operands<'_>,
) -> Result<(Const, Const), String> {
    let scale = operands.get(1)?.clone();
    let zero = match operands.optional(2) {
        Some(zero) if node.op_type != "BipolarQuant" => zero.clone(),
        _ => Const::new(vec![], Data::F32(vec![0.0]))?,
    };
    let is_positive = |i: usize| scale.number(i) > 0.0 && scale.number(i).is_finite();
    if scale.n_elements() == 0 || !(0..scale.n_held()).all(is_positive) {
        return Err("a scale is not a positive number".into());
    }
    Ok((scale, zero))
}

/// A constant quantised.
pub(super) fn fold(node: &NodeProto, operands: &Operands<'_>) -> Result<Const, String> {
    if !is_quant_domain(&node.domain) {
        return Err(format!("ops of domain {:?} are not known", node.domain));
    }
    if !matches!(node.op_type.as_str(), "Quant" | "IntQuant" | "BipolarQuant") {
        return Err(
            "onebit does not compute this op of constants; export plain quantised weights".into(),
        );
    }
    let x = operands.get(0)?;
    let rule = Rule::read(node, operands)?;
    let (scale, zero) = parameters(node, operands)?;
    let fits =
        |p: &Const| super::fold::broadcast(&p.shape, &x.shape).is_ok_and(|shape| shape == x.shape);
    if !fits(&scale) || !fits(&zero) {
        return Err("its scale or zero point does not go with the shape of the weights".into());
    }
    check_grown(x.n_elements(), x.n_held())?;
    let at_scale = broadcast_index(&scale.shape, &x.shape);
    let at_zero = broadcast_index(&zero.shape, &x.shape);
    let n = x.n_elements();
    let (mut codes, mut scales, mut values) = (
        Vec::with_capacity(n),
        Vec::with_capacity(n),
        Vec::with_capacity(n),
    );
    for i in 0..n {
        let (scale, zero) = (
            scale.number(at_scale[i]) as f32,
            zero.number(at_zero[i]) as f32,
        );
        let code = rule.code(x.number(i) as f32, scale, zero);
        let centred = code as f32 - zero;
        values.push(centred * scale);
        scales.push(scale);
        codes.push(centred);
    }
    let out = Const::new(x.shape.clone(), Data::F32(values))?;
    if codes
        .iter()
        .any(|code| code.fract() != 0.0 || code.abs() > 255.0)
    {
        return Ok(out);
    }
    let codes = codes.iter().map(|&code| code as i16).collect();
    Ok(out.with_quanta(Quanta { codes, scales }))
}
