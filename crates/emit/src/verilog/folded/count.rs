//! How many bits of a vector are 1, as logic that counts columns.
//!
//! The name and the size of a vector come in; text and the expression of the count go out. Counters of six bits to
//! three and of three to two (Parandeh-Afshar, Brisk & Ienne 2008) work on slices of the vector, so that each is one
//! expression of whole words to a simulator, and six inputs of a table to a mapper. One adder joins what is left.

use crate::verilog::text::{constant, range};

/// The vectors worth 1, 2, 4, ... that are still to be added up.
struct Columns {
    prefix: String,
    text: String,
    /// Name and size of the vector of each place; 0 where it is empty.
    vectors: Vec<(String, usize)>,
    n_names: usize,
}

impl Columns {
    fn wire(&mut self, size: usize, value: &str) -> String {
        let name = format!("{}{}", self.prefix, self.n_names);
        self.n_names += 1;
        self.text
            .push_str(&format!("  wire {}{name} = {value};\n", range(size)));
        name
    }

    /// Appends a vector to those of a place.
    fn push(&mut self, place: usize, name: String, size: usize) {
        if self.vectors.len() <= place {
            self.vectors.resize(place + 1, (String::new(), 0));
        }
        let (old, old_size) = self.vectors[place].clone();
        self.vectors[place] = match old_size {
            0 => (name, size),
            _ => {
                let joined = self.wire(old_size + size, &format!("{{{old}, {name}}}"));
                (joined, old_size + size)
            }
        };
    }

    /// Takes `n` slices of `size` bits from a place, and leaves the rest.
    fn slices(&mut self, place: usize, n: usize, size: usize) -> Vec<String> {
        let (name, all) = std::mem::take(&mut self.vectors[place]);
        let slice = |i: usize| format!("{name}[{}:{}]", (i + 1) * size - 1, i * size);
        let slices: Vec<String> = (0..n).map(slice).collect();
        if all > n * size {
            let rest = self.wire(all - n * size, &format!("{name}[{}:{}]", all - 1, n * size));
            self.push(place, rest, all - n * size);
        }
        slices
    }

    /// Three bits become two, `size` times.
    fn three_to_two(&mut self, place: usize, size: usize) {
        let slices = self.slices(place, 3, size);
        let [sum, carry] = self.full_adder(size, &slices);
        self.push(place, sum, size);
        self.push(place + 1, carry, size);
    }

    fn full_adder(&mut self, size: usize, slices: &[String]) -> [String; 2] {
        let [a, b, c] = [0, 1, 2].map(|i| slices[i].as_str());
        [
            self.wire(size, &format!("{a} ^ {b} ^ {c}")),
            self.wire(size, &format!("({a} & {b}) | ({a} & {c}) | ({b} & {c})")),
        ]
    }

    /// Six bits become three, `size` times.
    fn six_to_three(&mut self, place: usize, size: usize) {
        let slices = self.slices(place, 6, size);
        let [low, low_carry] = self.full_adder(size, &slices[..3]);
        let [high, high_carry] = self.full_adder(size, &slices[3..]);
        let sum = self.wire(size, &format!("{low} ^ {high}"));
        let carry = self.wire(size, &format!("{low} & {high}"));
        let [twos, fours] = self.full_adder(size, &[low_carry, high_carry, carry]);
        self.push(place, sum, size);
        self.push(place + 1, twos, size);
        self.push(place + 2, fours, size);
    }
}

/// Wires that begin with `prefix`, and an expression of `width` bits, enough for `n`, that counts the ones of the
/// vector `of`, which has `n` bits.
pub(super) fn ones(prefix: &str, of: &str, n: usize, width: usize) -> (String, String) {
    let mut columns = Columns {
        prefix: prefix.to_string(),
        text: String::new(),
        vectors: vec![(of.to_string(), n)],
        n_names: 0,
    };
    // Each bit is itself a function of two or three others: three of them fill a table, six do not.
    if n >= 3 {
        columns.three_to_two(0, n / 3);
    }
    let mut place = 0;
    while place < columns.vectors.len() {
        match columns.vectors[place].1 {
            0..=2 => place += 1,
            3..=5 => columns.three_to_two(place, 1),
            size => columns.six_to_three(place, size / 6),
        }
    }
    let rows = [0, 1].map(|row| columns.row(row, width));
    // No count is so great that these are ever 1.
    let spare: Vec<String> = columns
        .vectors
        .iter()
        .skip(width)
        .map(|v| v.0.clone())
        .collect();
    let spare: Vec<String> = spare.into_iter().filter(|name| !name.is_empty()).collect();
    if !spare.is_empty() {
        let line = format!(
            "  wire unused_{prefix} = &{{1'b0, {}}};\n",
            spare.join(", ")
        );
        columns.text.push_str(&line);
    }
    (columns.text, rows.join(" + "))
}

impl Columns {
    /// Bit `row` of every place as a number.
    fn row(&self, row: usize, width: usize) -> String {
        let bit = |place: usize| match self.vectors.get(place) {
            Some((name, size)) if row < *size => match size {
                1 => name.clone(),
                _ => format!("{name}[{row}]"),
            },
            _ => constant(1, 0),
        };
        let bits: Vec<String> = (0..width).rev().map(bit).collect();
        format!("{{{}}}", bits.join(", "))
    }
}
