//! A network of lookup tables with at most six inputs.
//!
//! Functions of literals come in; each distinct function of the same nodes exists once. Constants, repeated and
//! irrelevant inputs vanish on the way in, and inversion is free: it is a property of whoever reads a node.

use std::collections::HashMap;

/// Most inputs of a table.
pub(super) const MAX_INPUTS: usize = 6;

/// A node or its inverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lit {
    pub(super) node: u32,
    pub(super) is_inverted: bool,
}

impl Lit {
    pub(super) const FALSE: Lit = Lit {
        node: 0,
        is_inverted: false,
    };
    pub(super) const TRUE: Lit = Lit {
        node: 0,
        is_inverted: true,
    };

    pub(super) fn inverted_if(self, invert: bool) -> Lit {
        Lit {
            node: self.node,
            is_inverted: self.is_inverted != invert,
        }
    }
}

impl std::ops::Not for Lit {
    type Output = Lit;

    fn not(self) -> Lit {
        self.inverted_if(true)
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// Always 0; node 0 alone.
    Zero,
    /// A bit of the input.
    Input(usize),
    /// Bit `i` of the table, where bit `j` of `i` is the value of input `j`; the inputs ascend.
    Table { inputs: Vec<u32>, table: u64 },
}

/// The nodes, each after those it reads.
pub(super) struct Netlist {
    nodes: Vec<Node>,
    known: HashMap<Node, u32>,
    /// The layer that needed each node first.
    layers: Vec<usize>,
    /// The layer of nodes that are made from now on.
    pub(super) layer: usize,
}

impl Netlist {
    pub(super) fn new() -> Self {
        Netlist {
            nodes: vec![Node::Zero],
            known: HashMap::new(),
            layers: vec![0],
            layer: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn layer_of(&self, id: u32) -> usize {
        self.layers[id as usize]
    }

    /// Bit `bit` of the input.
    pub(super) fn input(&mut self, bit: usize) -> Lit {
        self.intern(Node::Input(bit))
    }

    fn intern(&mut self, node: Node) -> Lit {
        let n = self.nodes.len() as u32;
        let id = *self.known.entry(node.clone()).or_insert(n);
        if id == n {
            self.nodes.push(node);
            self.layers.push(self.layer);
        }
        Lit {
            node: id,
            is_inverted: false,
        }
    }

    /// The function `of` of at most six literals; bit `j` of its argument is the value of literal `j`.
    pub(super) fn table(&mut self, literals: &[Lit], of: impl Fn(usize) -> bool) -> Lit {
        let mut nodes: Vec<u32> = literals.iter().map(|literal| literal.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| *node != 0);
        let argument = |index: usize| {
            let bit = |literal: &Lit| {
                let place = nodes.iter().position(|node| *node == literal.node);
                let value = place.is_some_and(|place| (index >> place) & 1 == 1);
                value != literal.is_inverted
            };
            let bits = literals.iter().enumerate();
            bits.fold(0, |argument, (j, literal)| {
                argument | usize::from(bit(literal)) << j
            })
        };
        let table = (0..1 << nodes.len()).fold(0u64, |table, index| {
            table | u64::from(of(argument(index))) << index
        });
        self.reduced(nodes, table)
    }

    /// A table whose inputs may be irrelevant.
    fn reduced(&mut self, mut nodes: Vec<u32>, mut table: u64) -> Lit {
        let mut j = 0;
        while j < nodes.len() {
            let halves = [0, 1].map(|value| cofactor(table, nodes.len(), j, value));
            if halves[0] == halves[1] {
                nodes.remove(j);
                table = halves[0];
            } else {
                j += 1;
            }
        }
        let is_inverted = table & 1 == 1;
        if is_inverted {
            let n_entries = 1u32 << nodes.len();
            table = !table & (u64::MAX >> (64 - n_entries));
        }
        let literal = match (nodes.len(), table) {
            (0, _) => Lit::FALSE,
            (1, _) => Lit {
                node: nodes[0],
                is_inverted: false,
            },
            _ => self.intern(Node::Table {
                inputs: nodes,
                table,
            }),
        };
        literal.inverted_if(is_inverted)
    }

    /// The nodes that some of these literals depend on.
    pub(super) fn needed(&self, outputs: &[Lit]) -> Vec<bool> {
        let mut is_needed = vec![false; self.nodes.len()];
        for output in outputs {
            is_needed[output.node as usize] = true;
        }
        for id in (0..self.nodes.len()).rev() {
            if let (true, Node::Table { inputs, .. }) = (is_needed[id], &self.nodes[id]) {
                for input in inputs {
                    is_needed[*input as usize] = true;
                }
            }
        }
        is_needed
    }

    /// Replaces each table by one that also computes those it alone reads, as long as six inputs suffice.
    pub(super) fn merge(&mut self, outputs: &[Lit]) {
        let is_needed = self.needed(outputs);
        let mut n_readers = vec![0usize; self.nodes.len()];
        for output in outputs {
            n_readers[output.node as usize] += 2;
        }
        for (id, node) in self.nodes.iter().enumerate() {
            if let (true, Node::Table { inputs, .. }) = (is_needed[id], node) {
                inputs
                    .iter()
                    .for_each(|input| n_readers[*input as usize] += 1);
            }
        }
        for (id, _) in is_needed
            .iter()
            .enumerate()
            .filter(|(_, is_needed)| **is_needed)
        {
            while self.merge_one(id, &n_readers) {}
        }
    }

    /// Merges one input of a node into it, if there is one that fits.
    fn merge_one(&mut self, id: usize, n_readers: &[usize]) -> bool {
        let Node::Table { inputs, table } = &self.nodes[id] else {
            return false;
        };
        for (place, &input) in inputs.iter().enumerate() {
            let Node::Table {
                inputs: below,
                table: lower,
            } = &self.nodes[input as usize]
            else {
                continue;
            };
            if n_readers[input as usize] != 1 {
                continue;
            }
            let mut union: Vec<u32> = inputs
                .iter()
                .copied()
                .filter(|node| *node != input)
                .collect();
            union.extend(below.iter().copied());
            union.sort_unstable();
            union.dedup();
            if union.len() > MAX_INPUTS {
                continue;
            }
            let pick = |nodes: &[u32], index: usize| {
                nodes
                    .iter()
                    .enumerate()
                    .fold(0usize, |argument, (j, node)| {
                        let place = union.iter().position(|other| other == node);
                        argument | place.map_or(0, |place| (index >> place) & 1) << j
                    })
            };
            let merged = (0..1usize << union.len()).fold(0u64, |merged, index| {
                let value = (lower >> pick(below, index)) & 1;
                let argument = pick(inputs, index) | (value as usize) << place;
                merged | ((table >> argument) & 1) << index
            });
            self.nodes[id] = Node::Table {
                inputs: union,
                table: merged,
            };
            return true;
        }
        false
    }
}

/// The table of a function of `n` inputs with input `j` fixed.
fn cofactor(table: u64, n: usize, j: usize, value: usize) -> u64 {
    (0..1usize << (n - 1)).fold(0, |half, index| {
        let low = index & ((1 << j) - 1);
        let whole = (index >> j) << (j + 1) | value << j | low;
        half | ((table >> whole) & 1) << index
    })
}
