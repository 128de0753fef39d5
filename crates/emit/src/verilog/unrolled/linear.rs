//! Sums of literals with integer weights, and the tables that compute or compare them.
//!
//! A sum stays a list of terms until something needs its bits. It is then compressed column by column with counters
//! of six bits to three, as in compressor trees of FPGAs (Parandeh-Afshar, Brisk & Ienne 2008). A comparison keeps
//! carries only: once the lowest column is used up its sum bit is never made, and a sum of six bits is one table.

use std::collections::{BTreeMap, VecDeque};

use super::netlist::{Lit, MAX_INPUTS, Netlist};

/// `constant` plus the sum of each node times its coefficient, none of which is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) terms: BTreeMap<u32, i64>,
    pub(super) constant: i64,
}

impl Sum {
    pub(super) fn of_constant(constant: i64) -> Self {
        Sum {
            terms: BTreeMap::new(),
            constant,
        }
    }

    /// Adds `weight` where the literal is 1.
    pub(super) fn add_lit(&mut self, literal: Lit, weight: i64) {
        let weight = if literal.is_inverted {
            self.constant += weight;
            -weight
        } else {
            weight
        };
        if literal.node == 0 || weight == 0 {
            return;
        }
        let coefficient = self.terms.entry(literal.node).or_insert(0);
        *coefficient += weight;
        if *coefficient == 0 {
            self.terms.remove(&literal.node);
        }
    }

    /// Adds `weight` times another sum.
    pub(super) fn add(&mut self, other: &Sum, weight: i64) {
        self.constant += weight * other.constant;
        for (&node, &coefficient) in &other.terms {
            let literal = Lit {
                node,
                is_inverted: false,
            };
            self.add_lit(literal, weight * coefficient);
        }
    }

    /// The greatest number that divides every coefficient; 0 where there are no terms.
    fn divisor(&self) -> i64 {
        let gcd = |mut a: i64, mut b: i64| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a.abs()
        };
        self.terms.values().fold(0, |divisor, &c| gcd(divisor, c))
    }

    /// The terms alone, each divided by `divisor`.
    fn divided(&self, divisor: i64) -> Sum {
        let terms = self.terms.iter().map(|(&node, c)| (node, c / divisor));
        Sum {
            terms: terms.collect(),
            constant: 0,
        }
    }

    /// The bits that a two's complement number needs for every value of the sum.
    fn width(&self) -> usize {
        let [low, high] = self
            .terms
            .values()
            .fold([self.constant; 2], |[low, high], c| {
                [low + c.min(&0), high + c.max(&0)]
            });
        let magnitude = low.unsigned_abs().saturating_sub(u64::from(low < 0));
        let magnitude = magnitude.max(high.unsigned_abs());
        65 - magnitude.leading_zeros() as usize
    }

    /// A two's complement number, least significant bit first.
    pub(super) fn of_signed(bits: &[Lit]) -> Self {
        let mut sum = Sum::default();
        for (place, &bit) in bits.iter().enumerate() {
            let weight = 1i64 << place;
            let is_sign = place + 1 == bits.len();
            sum.add_lit(bit, if is_sign { -weight } else { weight });
        }
        sum
    }
}

/// Literals by the power of two they are worth, and what is added to them.
struct Columns {
    columns: VecDeque<VecDeque<Lit>>,
    constant: i64,
}

impl Columns {
    fn new(sum: &Sum) -> Self {
        let mut columns = Columns {
            columns: VecDeque::new(),
            constant: sum.constant,
        };
        for (&node, &coefficient) in &sum.terms {
            for (place, is_negative) in digits(coefficient) {
                // A negative weight is a positive one of the inverse, less a constant.
                columns.constant -= i64::from(is_negative) << place;
                let is_inverted = is_negative;
                columns.push(place, Lit { node, is_inverted });
            }
        }
        columns
    }

    fn push(&mut self, place: usize, literal: Lit) {
        if literal == Lit::TRUE {
            self.constant += 1 << place;
        } else if literal != Lit::FALSE {
            while self.columns.len() <= place {
                self.columns.push_back(VecDeque::new());
            }
            self.columns[place].push_back(literal);
        }
    }

    fn height(&self, place: usize) -> usize {
        self.columns.get(place).map_or(0, VecDeque::len)
    }

    fn take(&mut self, place: usize, n: usize) -> Vec<Lit> {
        match self.columns.get_mut(place) {
            Some(column) => column.drain(..n.min(column.len())).collect(),
            None => Vec::new(),
        }
    }

    fn n_literals(&self) -> usize {
        self.columns.iter().map(VecDeque::len).sum()
    }

    /// The greatest value of the literals alone.
    fn most(&self) -> i64 {
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(place, column)| (column.len() as i64) << place)
            .sum()
    }

    /// Counts six of the lowest column's literals.
    fn compress(&mut self, netlist: &mut Netlist, place: usize) {
        let group = self.take(place, MAX_INPUTS);
        for (bit, literal) in counted(netlist, &group, 0, 0).into_iter().enumerate() {
            self.push(place + bit, literal);
        }
    }
}

/// The powers of two that a number is the sum of, each with whether it is subtracted: its bits, or its non-adjacent
/// form (Reitwieser 1960) where that has fewer.
fn digits(number: i64) -> Vec<(usize, bool)> {
    let magnitude = number.unsigned_abs();
    let tripled = 3 * magnitude;
    let [plus, minus] = [(tripled & !magnitude) >> 1, (magnitude & !tripled) >> 1];
    let [plus, minus] = match plus.count_ones() + minus.count_ones() < magnitude.count_ones() {
        true => [plus, minus],
        false => [magnitude, 0],
    };
    let is_digit = |place: &usize| ((plus | minus) >> place) & 1 == 1;
    let digit = |place: usize| (place, ((minus >> place) & 1 == 1) != (number < 0));
    (0..64).filter(is_digit).map(digit).collect()
}

/// The bits from `drop` on of the sum of `literals` and `more`.
fn counted(netlist: &mut Netlist, literals: &[Lit], more: u32, drop: u32) -> Vec<Lit> {
    weighed(netlist, literals, &[], more, drop)
}

/// The bits from `drop` on of the sum of `ones`, twice `twos`, and `more`.
fn weighed(netlist: &mut Netlist, ones: &[Lit], twos: &[Lit], more: u32, drop: u32) -> Vec<Lit> {
    let literals: Vec<Lit> = ones.iter().chain(twos).copied().collect();
    let value = |argument: usize| {
        let low = argument & ((1 << ones.len()) - 1);
        low.count_ones() + 2 * (argument >> ones.len()).count_ones() + more
    };
    let most = ones.len() as u32 + 2 * twos.len() as u32 + more;
    let n_bits = 32 - most.leading_zeros();
    let bit = |bit: u32| netlist.table(&literals, |argument| (value(argument) >> bit) & 1 == 1);
    (drop..n_bits).map(bit).collect()
}

/// Whether the sum is at least `at`.
pub(super) fn at_least(netlist: &mut Netlist, sum: &Sum, at: i64) -> Lit {
    // A factor of all terms matters to neither side but for how the constant rounds.
    let divisor = sum.divisor().max(1);
    let mut divided = sum.divided(divisor);
    divided.constant = (sum.constant - at).div_euclid(divisor);
    let mut columns = Columns::new(&divided);
    loop {
        if columns.constant >= 0 {
            return Lit::TRUE;
        }
        if columns.most() + columns.constant < 0 {
            return Lit::FALSE;
        }
        match columns.height(0) {
            0 => {
                // Half of what is below zero is rounded away from it: the rest cannot bring the sum to zero.
                columns.constant = columns.constant.div_euclid(2);
                columns.columns.pop_front();
            }
            _ if columns.n_literals() <= MAX_INPUTS => return last_table(netlist, &columns),
            1 => {
                let literal = columns.take(0, 1)[0];
                if columns.constant.rem_euclid(2) == 1 {
                    columns.constant -= 1;
                    columns.push(1, literal);
                }
            }
            height if height > MAX_INPUTS => columns.compress(netlist, 0),
            _ => close(netlist, &mut columns),
        }
    }
}

/// The comparison as one table of what is left.
fn last_table(netlist: &mut Netlist, columns: &Columns) -> Lit {
    let mut literals = Vec::new();
    let mut weights = Vec::new();
    for (place, column) in columns.columns.iter().enumerate() {
        literals.extend(column.iter().copied());
        weights.extend(column.iter().map(|_| 1i64 << place));
    }
    netlist.table(&literals, |argument| {
        let ones = weights
            .iter()
            .enumerate()
            .filter(|(j, _)| (argument >> j) & 1 == 1);
        ones.map(|(_, weight)| weight).sum::<i64>() + columns.constant >= 0
    })
}

/// Replaces the lowest column, of at most six, by its carries; literals of the next column fill the tables.
fn close(netlist: &mut Netlist, columns: &mut Columns) {
    let n_ones = columns.height(0);
    let more = columns.constant.rem_euclid(2) as u32;
    let n_outputs = |n_twos: usize| 31 - (n_ones as u32 + 2 * n_twos as u32 + more).leading_zeros();
    let room = (MAX_INPUTS - n_ones).min(columns.height(1));
    // The most literals removed per table; among equals the one that uses fewer tables.
    let gain = |n_twos: usize| {
        let outputs = n_outputs(n_twos).max(1) as usize;
        (
            1000 * (n_ones + n_twos - outputs.min(n_ones + n_twos)) / outputs,
            10 - outputs,
        )
    };
    let n_twos = (0..=room).max_by_key(|n_twos| gain(*n_twos)).unwrap_or(0);
    let ones = columns.take(0, n_ones);
    let twos = columns.take(1, n_twos);
    columns.constant -= i64::from(more);
    for (bit, literal) in weighed(netlist, &ones, &twos, more, 1)
        .into_iter()
        .enumerate()
    {
        columns.push(1 + bit, literal);
    }
}

/// The lowest `width` bits of the sum in two's complement.
pub(super) fn bits_of(netlist: &mut Netlist, sum: &Sum, width: usize) -> Vec<Lit> {
    let divisor = sum.divisor();
    if divisor.count_ones() > 1 && sum.terms.len() > MAX_INPUTS {
        // The sum of many terms is multiplied once.
        let inner = sum.divided(divisor);
        let inner = Sum::of_signed(&bits_of(netlist, &inner, inner.width()));
        let mut product = Sum::of_constant(sum.constant);
        product.add(&inner, divisor);
        if product.terms.len() < sum.terms.len() {
            return bits_of(netlist, &product, width);
        }
    }
    let mut columns = Columns::new(sum);
    let mut bits = Vec::with_capacity(width);
    while bits.len() < width {
        while columns.height(0) > MAX_INPUTS {
            columns.compress(netlist, 0);
        }
        let more = columns.constant.rem_euclid(2) as u32;
        columns.constant -= i64::from(more);
        let ones = columns.take(0, MAX_INPUTS);
        // Two columns at a time where they fit, as in a carry chain.
        let fits = columns.height(1) + ones.len() <= MAX_INPUTS && ones.len() + more as usize > 1;
        let twos = if fits {
            columns.take(1, MAX_INPUTS)
        } else {
            Vec::new()
        };
        let mut result = weighed(netlist, &ones, &twos, more, 0).into_iter();
        bits.push(result.next().unwrap_or(Lit::FALSE));
        for (place, literal) in result.enumerate() {
            columns.push(1 + place, literal);
        }
        columns.columns.pop_front();
        columns.constant = columns.constant.div_euclid(2);
    }
    bits
}

#[cfg(test)]
mod tests {
    use onebit_testkit::Random;

    use super::*;
    use crate::verilog::unrolled::netlist::Node;

    /// The value of every node for an input whose bits are those of `x`.
    fn values(netlist: &Netlist, x: usize) -> Vec<bool> {
        let mut values = Vec::new();
        for id in 0..netlist.len() {
            let value = match netlist.node(id as u32) {
                Node::Zero => false,
                Node::Input(bit) => (x >> bit) & 1 == 1,
                Node::Table { inputs, table } => {
                    let bits = inputs.iter().enumerate();
                    let argument: usize = bits
                        .map(|(j, input)| usize::from(values[*input as usize]) << j)
                        .sum();
                    (table >> argument) & 1 == 1
                }
            };
            values.push(value);
        }
        values
    }

    #[test]
    fn sums_with_a_common_factor_are_compared_and_computed_exactly() {
        let mut random = Random::new(11);
        for case in 0..400 {
            let (mut netlist, n) = (Netlist::new(), random.below(10));
            let factor = i64::from(random.pick(&[1, 2, 3, 6, 7, 31, 62, -3, -31]));
            let mut sum = Sum::of_constant(random.int(-200, 200));
            let mut terms = Vec::new();
            for i in 0..n {
                let literal = netlist.input(i).inverted_if(random.once_in(2));
                let most = random.pick(&[2, 2, 40]);
                let weight = factor * random.int(1, most);
                terms.push((i, literal.is_inverted, weight));
                sum.add_lit(literal, weight);
            }
            let inverted = terms.iter().filter(|(_, is_inverted, _)| *is_inverted);
            let constant = sum.constant - inverted.map(|(_, _, weight)| weight).sum::<i64>();
            let width = sum.width() + random.below(3);
            let bits = bits_of(&mut netlist, &sum, width);
            let cuts: Vec<i64> = (0..8).map(|_| random.int(-300, 300)).collect();
            let answers: Vec<Lit> = cuts
                .iter()
                .map(|cut| at_least(&mut netlist, &sum, *cut))
                .collect();
            for x in 0..1usize << n {
                let values = values(&netlist, x);
                let is_true = |literal: &Lit| values[literal.node as usize] != literal.is_inverted;
                let active = terms
                    .iter()
                    .filter(|(i, is_inverted, _)| ((x >> i) & 1 == 1) != *is_inverted);
                let expected = constant + active.map(|(_, _, weight)| weight).sum::<i64>();
                for (place, bit) in bits.iter().enumerate() {
                    assert_eq!(is_true(bit), (expected >> place) & 1 == 1, "case {case}");
                }
                for (cut, answer) in cuts.iter().zip(&answers) {
                    assert_eq!(is_true(answer), expected >= *cut, "case {case}");
                }
            }
        }
    }

    #[test]
    fn digits_add_up_and_are_few() {
        for number in -300i64..=300 {
            let found = digits(number);
            let value = |(place, is_negative): &(usize, bool)| {
                (1i64 << place) * if *is_negative { -1 } else { 1 }
            };
            assert_eq!(found.iter().map(value).sum::<i64>(), number);
            assert!(found.len() <= number.unsigned_abs().count_ones() as usize);
        }
        assert_eq!(digits(31), [(0, true), (5, false)]);
        assert_eq!(digits(-3), [(0, true), (1, true)]);
    }
}
