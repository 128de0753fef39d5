//! Small pieces of Verilog text: sized constants, widths, registers.
//!
//! Numbers come in; text whose widths are stated goes out, so that no tool has to guess one.

use crate::File;

/// Bits that hold every number from 0 to `max`, at least 1.
pub(super) fn unsigned_width(max: u64) -> usize {
    (64 - max.leading_zeros() as usize).max(1)
}

/// Bits of a two's complement number that holds `min` to `max`, at least 2.
pub(super) fn signed_width(min: i64, max: i64) -> usize {
    let magnitude = |x: i64| (if x < 0 { !x } else { x }) as u64;
    let most = magnitude(min).max(magnitude(max));
    unsigned_width(most) + 1
}

/// An unsigned constant.
pub(super) fn constant(width: usize, value: u64) -> String {
    format!("{width}'d{value}")
}

/// A two's complement constant, written as a signed decimal.
pub(super) fn signed_constant(width: usize, value: i64) -> String {
    if value == -1 << (width - 1) {
        // The least number has no positive twin to negate.
        format!("{width}'sh{:x}", 1u64 << (width - 1))
    } else if value < 0 {
        format!("-{width}'sd{}", -value)
    } else {
        format!("{width}'sd{value}")
    }
}

/// Most words of a memory that are written in the module; a compiler of assignments takes gigabytes for more.
const MAX_INLINE_WORDS: usize = 2048;

/// A constant memory: its declaration, and the file of its words where they are many.
pub(super) fn rom(
    name: &str,
    width: usize,
    file: &str,
    words: &[Vec<bool>],
) -> (String, Option<File>) {
    let n_words = words.len();
    let mut text = format!("  reg {}{name} [0:{}];\n", range(width), n_words - 1);
    if n_words > MAX_INLINE_WORDS {
        text.push_str(&format!("  initial $readmemh(\"{file}\", {name});\n"));
        let lines: String = words.iter().map(|word| digits(word) + "\n").collect();
        let bytes = lines.into_bytes();
        let name = file.to_string();
        return (text, Some(File { name, bytes }));
    }
    text.push_str("  initial begin\n");
    for (address, word) in words.iter().enumerate() {
        text.push_str(&format!(
            "    {name}[{address}] = {};\n",
            bits_constant(word)
        ));
    }
    text.push_str("  end\n");
    (text, None)
}

/// A constant of any width from its bits, least significant first.
pub(super) fn bits_constant(bits: &[bool]) -> String {
    format!("{}'h{}", bits.len(), digits(bits))
}

/// Bits as hexadecimal digits.
fn digits(bits: &[bool]) -> String {
    let digit = |nibble: &[bool]| {
        let value = nibble
            .iter()
            .enumerate()
            .fold(0, |sum, (i, &bit)| sum | u32::from(bit) << i);
        char::from_digit(value, 16).expect("four bits are a hexadecimal digit")
    };
    bits.chunks(4).rev().map(digit).collect()
}

/// Appends the low `width` bits of a number, least significant first.
pub(super) fn push_bits(bits: &mut Vec<bool>, width: usize, value: i64) {
    bits.extend((0..width).map(|i| (value >> i.min(63)) & 1 == 1));
}

/// The range of a declaration of so many bits, with the space after it.
pub(super) fn range(width: usize) -> String {
    format!("[{}:0] ", width - 1)
}

/// A part of a vector: `width` bits from bit `start` on.
pub(super) fn part(name: &str, start: usize, width: usize) -> String {
    format!("{name}[{start} +: {width}]")
}

/// The words of Verilog-2001 and of SystemVerilog, none of which can be a name, and the names inside an unrolled module.
const KEYWORDS: &str = "always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config \
    deassign default defparam design disable edge else end endcase endconfig endfunction endgenerate endmodule \
    endprimitive endspecify endtable endtask event for force forever fork function generate genvar highz0 highz1 if \
    ifnone incdir include initial inout input instance integer join large liblist library localparam macromodule \
    medium module nand negedge nmos nor noshowcancelled not notif0 notif1 or output parameter pmos posedge primitive \
    pull0 pull1 pulldown pullup pulsestyle_onevent pulsestyle_ondetect rcmos real realtime reg release repeat rnmos \
    rpmos rtran rtranif0 rtranif1 scalared showcancelled signed small specify specparam strong0 strong1 supply0 \
    supply1 table task time tran tranif0 tranif1 tri tri0 tri1 triand trior trireg unsigned use vectored wait wand \
    weak0 weak1 while wire wor xnor xor \
    accept_on alias always_comb always_ff always_latch assert assume before bind bins binsof bit break byte chandle \
    checker class clocking const constraint context continue cover covergroup coverpoint cross dist do endchecker \
    endclass endclocking endgroup endinterface endpackage endprogram endproperty endsequence enum eventually expect \
    export extends extern final first_match foreach forkjoin global iff ignore_bins illegal_bins implements implies \
    import inside int interconnect interface intersect join_any join_none let local logic longint matches modport \
    nettype new nexttime null package packed priority program property protected pure rand randc randcase randsequence \
    ref reject_on restrict return s_always s_eventually s_nexttime s_until s_until_with sequence shortint shortreal \
    soft solve static string strong struct super sync_accept_on sync_reject_on tagged this throughout timeprecision \
    timeunit type typedef union unique unique0 until until_with untyped var virtual void wait_order weak wildcard with \
    within clk rst en valid in_valid in_data out_valid out_data";

/// Most characters of a name that is taken from elsewhere.
const MAX_NAME: usize = 64;

/// A name that Verilog allows, from any text: other characters become `_`, a letter comes first, and no keyword stays
/// one.
pub(super) fn identifier(text: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.chars().map(legal).take(MAX_NAME).collect();
    let is_keyword = KEYWORDS.split_whitespace().any(|word| word == name);
    // The nodes and tables of an unrolled module.
    let is_numbered = name
        .strip_prefix(['n', 'T'])
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() && !is_keyword && !is_numbered => name,
        _ => format!("n_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_hold_their_numbers_and_no_more() {
        let unsigned = [0, 1, 2, 255, 256].map(unsigned_width);
        assert_eq!(unsigned, [1, 1, 2, 8, 9]);
        assert_eq!(signed_width(-1, 0), 2);
        assert_eq!(signed_width(-128, 127), 8);
        assert_eq!(signed_width(-129, 0), 9);
        assert_eq!(signed_width(i64::from(i32::MIN), 0), 32);
    }

    #[test]
    fn constants_state_width_and_sign() {
        assert_eq!(signed_constant(8, -128), "8'sh80");
        assert_eq!(signed_constant(8, -127), "-8'sd127");
        assert_eq!(bits_constant(&[true, false, false, false, true]), "5'h11");
        let names = ["3 a.b-c", "module", "", "mnist-sfc", "logic", "n5"].map(identifier);
        let legal = [
            "n_3_a_b_c",
            "n_module",
            "n_",
            "mnist_sfc",
            "n_logic",
            "n_n5",
        ];
        assert_eq!(names, legal);
        assert_eq!(identifier(&"x".repeat(300)).len(), MAX_NAME);
    }
}
