//! Modules at the places where images are whole: greatest of a window, index of the greatest, sums of two values,
//! and values whose elements change their order.

use super::stream::{Element, Form, ports};
use crate::verilog::text::{bits_constant, constant, part, push_bits, range, unsigned_width};

/// The greatest of the words up to `s_last`, for each of `n` elements; words of pads are never it.
pub(super) fn max_pool(name: &str, element: Element, n: usize) -> String {
    let bits = element.bits;
    let least = match element.form {
        Form::Signed => format!("{bits}'h{:x}", 1u64 << (bits - 1)),
        _ => constant(bits, 0),
    };
    let mut text = format!(
        "// The greatest of a window, {n} channels at a time.\nmodule {name} (\n{},\n  input wire s_pad,\n  \
         input wire s_last\n);\n  wire ce = !m_valid || m_ready;\n  assign s_ready = ce;\n  reg fresh;\n  \
         always @(posedge clk)\n    if (rst) begin\n      fresh <= 1'b1;\n      m_valid <= 1'b0;\n    \
         end else if (ce) begin\n      if (s_valid) fresh <= s_last;\n      m_valid <= s_valid && s_last;\n    end\n",
        ports(n * bits, n * bits, "reg", "wire").trim_end()
    );
    for i in 0..n {
        let compare = match element.form {
            Form::Signed => format!("$signed(x{i}) > $signed(best{i})"),
            _ => format!("x{i} > best{i}"),
        };
        text.push_str(&format!(
            "  wire {r}x{i} = s_pad ? {least} : {};\n  reg {r}best{i};\n  \
             always @(posedge clk)\n    if (ce && s_valid && (fresh || {compare})) best{i} <= x{i};\n",
            part("s_data", i * bits, bits),
            r = range(bits)
        ));
    }
    let parts: Vec<String> = (0..n).rev().map(|i| format!("best{i}")).collect();
    text.push_str(&format!(
        "  assign m_data = {{{}}};\nendmodule\n",
        parts.join(", ")
    ));
    text
}

/// The index of the greatest of `n` elements, the first of several.
pub(super) fn argmax(name: &str, element: Element, n: usize, result: Element) -> String {
    let index = unsigned_width(n as u64 - 1);
    let wide = element.signed_bits();
    let more = result.bits.saturating_sub(index);
    let padded = if more == 0 {
        "best_index".to_string()
    } else {
        format!("{{{more}'d0, best_index}}")
    };
    format!(
        "// The index of the greatest of {n}.\nmodule {name} (\n{ports});\n  wire ce = !m_valid || m_ready;\n  \
         assign s_ready = ce;\n  reg {i}index;\n  reg {i}best_index;\n  reg signed {w}best;\n  \
         wire signed {w}x = {x};\n  wire is_last = index == {last};\n  \
         wire take = index == {zero} || x > best;\n  always @(posedge clk)\n    if (rst) begin\n      index <= {zero};\n      \
         m_valid <= 1'b0;\n    end else if (ce) begin\n      m_valid <= s_valid && is_last;\n      \
         if (s_valid) index <= is_last ? {zero} : index + {one};\n    end\n  always @(posedge clk)\n    \
         if (ce && s_valid && take) begin\n      best <= x;\n      best_index <= index;\n    end\n  \
         assign m_data = {padded};\nendmodule\n",
        ports = ports(element.bits, result.bits, "reg", "wire"),
        i = range(index),
        w = range(wide),
        x = element.number("s_data", 0, wide),
        last = constant(index, n as u64 - 1),
        zero = constant(index, 0),
        one = constant(index, 1),
    )
}

/// The sums of two streams, `n` elements a beat.
pub(super) fn add(name: &str, [a, b]: [Element; 2], result: Element, n: usize) -> String {
    let wide = a.signed_bits().max(b.signed_bits()).max(result.bits) + 1;
    let mut text = format!(
        "// Adds two values, {n} elements at a time.\nmodule {name} (\n{},\n  input wire t_valid,\n  output wire t_ready,\n  \
         input wire {}t_data\n);\n  assign m_valid = s_valid && t_valid;\n  assign s_ready = t_valid && m_ready;\n  \
         assign t_ready = s_valid && m_ready;\n  wire unused_clock = &{{1'b0, clk, rst}};\n",
        ports(a.bits * n, result.bits * n, "wire", "wire").trim_end(),
        range(b.bits * n),
    );
    for i in 0..n {
        text.push_str(&format!(
            "  wire signed {}y{i} = {} + {};\n  wire unused_y{i} = &{{1'b0, y{i}[{}:{}]}};\n",
            range(wide),
            a.number("s_data", i, wide),
            b.number("t_data", i, wide),
            wide - 1,
            result.bits
        ));
    }
    let parts = (0..n).rev().map(|i| format!("y{i}[{}:0]", result.bits - 1));
    let parts: Vec<String> = parts.collect();
    text.push_str(&format!(
        "  assign m_data = {{{}}};\nendmodule\n",
        parts.join(", ")
    ));
    text
}

/// Where an element of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) operand: usize,
    pub(super) element: usize,
    /// The bit of the element, where only one is wanted.
    pub(super) bit: usize,
}

/// Bits of an element's and of an operand's number in the order.
fn address_and_operand_bits(operands: &[(Element, usize)]) -> [usize; 2] {
    let longest = operands.iter().map(|(_, n)| *n).max().unwrap_or(1);
    [longest, operands.len()].map(|n| unsigned_width(n as u64 - 1))
}

/// Bits of a word of the order.
pub(super) fn order_bits(operands: &[(Element, usize)]) -> usize {
    address_and_operand_bits(operands).iter().sum::<usize>() + BIT_BITS
}

/// The elements of several whole values in any order, one a cycle.
///
/// Each operand is a stream `s0`, `s1`, ... of one element a beat, kept in two banks of a memory; `operands` has
/// their elements and how many there are.
pub(super) fn gather(
    name: &str,
    operands: &[(Element, usize)],
    result: Element,
    sources: &[Source],
) -> String {
    let [address_bits, operand_bits] = address_and_operand_bits(operands);
    let word_bits = order_bits(operands);
    let index_bits = unsigned_width(sources.len() as u64 - 1);
    let mut text = format!(
        "// The elements of {} value(s) in a fixed order.\nmodule {name} (\n  input wire clk,\n  input wire rst,\n",
        operands.len()
    );
    for (k, (element, _)) in operands.iter().enumerate() {
        let data = range(element.bits);
        text.push_str(&format!(
            "  input wire s{k}_valid,\n  output wire s{k}_ready,\n  input wire {data}s{k}_data,\n"
        ));
    }
    text.push_str(&format!(
        "  output reg m_valid,\n  input wire m_ready,\n  output wire {}m_data\n);\n  wire ce = !m_valid || m_ready;\n  \
         reg {word}order [0:{}];\n  initial begin\n",
        range(result.bits),
        sources.len() - 1,
        word = range(word_bits),
    ));
    for (i, source) in sources.iter().enumerate() {
        let mut bits = Vec::new();
        push_bits(&mut bits, address_bits, source.element as i64);
        push_bits(&mut bits, operand_bits, source.operand as i64);
        push_bits(&mut bits, BIT_BITS, source.bit as i64);
        text.push_str(&format!("    order[{i}] = {};\n", bits_constant(&bits)));
    }
    let all: Vec<String> = (0..operands.len())
        .map(|k| format!("full{k}[bank]"))
        .collect();
    text.push_str("  end\n");
    for k in 0..operands.len() {
        text.push_str(&format!("  reg [1:0] full{k};\n"));
    }
    text.push_str(&format!(
        "  reg {index}index;\n  reg bank, bank1, v1, end1;\n  reg {word}at;\n  reg {select}at2;\n  \
         wire go = {};\n  wire is_last = index == {last};\n  wire release_bank = ce && v1 && end1;\n  \
         always @(posedge clk)\n    if (rst) begin\n      index <= {zero};\n      bank <= 1'b0;\n      v1 <= 1'b0;\n      \
         m_valid <= 1'b0;\n    end else if (ce) begin\n      v1 <= go;\n      m_valid <= v1;\n      if (go) begin\n        \
         index <= is_last ? {zero} : index + {one};\n        if (is_last) bank <= !bank;\n      end\n    end\n  \
         always @(posedge clk)\n    if (ce) begin\n      at <= order[index];\n      bank1 <= bank;\n      end1 <= is_last;\n      \
         at2 <= at[{top}:{address_bits}];\n    end\n",
        all.join(" && "),
        index = range(index_bits),
        word = range(word_bits),
        select = range(word_bits - address_bits),
        top = word_bits - 1,
        last = constant(index_bits, sources.len() as u64 - 1),
        zero = constant(index_bits, 0),
        one = constant(index_bits, 1),
    ));
    for (k, (element, n)) in operands.iter().enumerate() {
        text.push_str(&bank(k, *element, *n));
    }
    text.push_str(&select(operands, result, operand_bits));
    text
}

/// Bits of the number of a bit in an element of which only one is wanted.
const BIT_BITS: usize = 3;

/// The two banks of operand `k` and the side that fills them.
fn bank(k: usize, element: Element, n: usize) -> String {
    let bits = unsigned_width(n as u64 - 1);
    format!(
        "  reg {data}mem{k} [0:{depth}];\n  reg {data}q{k};\n  reg w_bank{k};\n  \
         reg {address}w_addr{k};\n  assign s{k}_ready = !full{k}[w_bank{k}];\n  \
         wire write{k} = s{k}_valid && s{k}_ready;\n  wire w_last{k} = w_addr{k} == {last};\n  \
         always @(posedge clk)\n    if (rst) begin\n      full{k} <= 2'b00;\n      w_bank{k} <= 1'b0;\n      \
         w_addr{k} <= {zero};\n    end else begin\n      if (release_bank) full{k}[bank1] <= 1'b0;\n      \
         if (write{k}) begin\n        w_addr{k} <= w_last{k} ? {zero} : w_addr{k} + {one};\n        \
         if (w_last{k}) begin\n          full{k}[w_bank{k}] <= 1'b1;\n          w_bank{k} <= !w_bank{k};\n        end\n      \
         end\n    end\n  always @(posedge clk)\n    if (write{k}) mem{k}[{{w_bank{k}, w_addr{k}}}] <= s{k}_data;\n  \
         always @(posedge clk)\n    if (ce) q{k} <= mem{k}[{{bank1, at[{top}:0]}}];\n",
        data = range(element.bits),
        depth = (2usize << bits) - 1,
        address = range(bits),
        last = constant(bits, n as u64 - 1),
        zero = constant(bits, 0),
        one = constant(bits, 1),
        top = bits - 1,
    )
}

/// The element that the order asks for.
fn select(operands: &[(Element, usize)], result: Element, operand_bits: usize) -> String {
    let is_planes = operands
        .iter()
        .any(|(element, _)| element.bits != result.bits && result.form == Form::Sign);
    let mut value = String::new();
    for (k, (element, _)) in operands.iter().enumerate() {
        let one = if is_planes {
            match element.bits {
                1 => format!("q{k}"),
                bits => format!(
                    "q{k}[at2[{}:{operand_bits}]]",
                    operand_bits + unsigned_width(bits as u64 - 1) - 1
                ),
            }
        } else {
            element.extended(&format!("q{k}"), 0, result.bits)
        };
        match k + 1 == operands.len() {
            true => value.push_str(&one),
            false => {
                let number = constant(operand_bits, k as u64);
                value.push_str(&format!(
                    "at2[{}:0] == {number} ? {one} : ",
                    operand_bits - 1
                ));
            }
        }
    }
    format!("  wire unused_at = &{{1'b0, at2}};\n  assign m_data = {value};\nendmodule\n")
}
