//! A Net under construction: its layers, their types, its randomness and what it may still cost.

use onebit_model::check_net::{NetTypes, check_net, check_unfinished};
use onebit_model::net::{Encoder, Layer, LayerOp, Net};
use onebit_model::program::{Type, ValueId};

use crate::random::Random;

/// Most multiplications of one image.
const MAX_COST: usize = 400_000;

/// A Net under construction.
pub(super) struct NetSketch {
    pub(super) random: Random,
    net: Net,
    types: NetTypes,
    /// Multiplications that one image may still take.
    pub(super) cost_left: usize,
}

impl NetSketch {
    pub(super) fn new(name: &str, input: Type, encoder: Encoder, random: Random) -> Self {
        let net = Net {
            name: name.into(),
            input,
            encoder,
            layers: vec![],
            notes: vec![],
        };
        let types = check_unfinished(&net).expect("the generator's encoders read its inputs");
        NetSketch {
            random,
            net,
            types,
            cost_left: MAX_COST,
        }
    }

    pub(super) fn encoded(&self) -> ValueId {
        ValueId(0)
    }

    pub(super) fn last_value(&self) -> ValueId {
        ValueId(self.net.layers.len())
    }

    pub(super) fn any_value(&mut self) -> ValueId {
        ValueId(self.random.below(self.net.layers.len() + 1))
    }

    pub(super) fn ty(&self, id: ValueId) -> &Type {
        self.types.of(id)
    }

    /// The values whose type suits.
    pub(super) fn values_where(&self, is_right: impl Fn(&Type) -> bool) -> Vec<ValueId> {
        let values = (0..=self.net.layers.len()).map(ValueId);
        values.filter(|id| is_right(self.ty(*id))).collect()
    }

    /// Appends a layer if it is well formed.
    pub(super) fn try_push(
        &mut self,
        name: &str,
        op: LayerOp,
        inputs: &[ValueId],
    ) -> Option<ValueId> {
        self.net.layers.push(Layer {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
        });
        match check_unfinished(&self.net) {
            Ok(types) => {
                self.types = types;
                Some(self.last_value())
            }
            Err(_) => {
                self.net.layers.pop();
                None
            }
        }
    }

    /// Appends a layer that is known to be well formed.
    pub(super) fn push(&mut self, name: &str, op: LayerOp, inputs: &[ValueId]) -> ValueId {
        self.try_push(name, op, inputs)
            .unwrap_or_else(|| panic!("the generator of Nets has made a malformed layer {name}"))
    }

    /// A name for the next layer.
    pub(super) fn name(&self, op: &str) -> String {
        format!("{op}{}", self.net.layers.len())
    }

    /// The Net whose answer is the last value.
    pub(super) fn finish(mut self, seed: u64) -> Net {
        self.net.notes = vec![("seed".into(), seed.to_string())];
        check_net(&self.net).expect("random Nets follow the rules that check_net checks");
        self.net
    }
}
