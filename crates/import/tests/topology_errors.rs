//! Safetensors and TOML: what is wrong is said with the file, the layer and the tensor.

mod written;

use std::fs;

use written::{Given, REAL_3, assert_error, with_input, write_f32};

#[test]
#[expect(clippy::too_many_lines, reason = "a flat table of cases")]
fn what_is_wrong_with_a_topology_is_said() {
    let dense = "[[layer]]\nname = \"fc\"\nop = \"dense\"\nweights = \"sign\"";
    let conv = "[[layer]]\nname = \"c\"\nop = \"conv2d\"\nweights = \"sign\"";
    let bits = "kind = \"bits\"\nshape = [3]";
    let image = "kind = \"bits\"\nshape = [4, 4, 3]";
    let cases: &[(&str, &str, &[Given], &[&str])] = &[
        (
            bits,
            "[[layer]]\nop = \"dens\"",
            &[],
            &["layer number 1", "no op \"dens\"", "conv2d"],
        ),
        (
            bits,
            "[[layer]]\nname = \"x\"",
            &[],
            &["layer x", "has no op"],
        ),
        (bits, "[[layer]]\nop = 3", &[], &["op is not text"]),
        (
            bits,
            &format!("{dense}\nbais = \"b\""),
            &[],
            &["layer fc", "bais", "docs/import.md"],
        ),
        (
            bits,
            "[[layer]]\nop = \"dense\"",
            &[],
            &["missing field `weights`"],
        ),
        (
            bits,
            "[[layer]]\nop = \"relu\"\nkernel = 2",
            &[],
            &["kernel"],
        ),
        (
            bits,
            "[[layers]]\nop = \"relu\"",
            &[],
            &["line 6", "layers"],
        ),
        (bits, "", &[], &["output", "no layers"]),
        (
            bits,
            dense,
            &[],
            &["tensor fc.weight", "is not in the file"],
        ),
        (
            bits,
            dense,
            &[("fc.weight", &[2, 4], vec![0.0; 8])],
            &["tensor fc.weight", "[2, 4]", "3 elements"],
        ),
        (
            bits,
            dense,
            &[("fc.weight", &[6], vec![0.0; 6])],
            &["two axes"],
        ),
        (
            bits,
            dense,
            &[("fc.weight", &[1, 3], vec![0.0, f32::NAN, 0.0])],
            &["NaN at element 1"],
        ),
        (
            bits,
            dense,
            &[
                ("fc.weight", &[1, 3], vec![0.0; 3]),
                ("fc.bias", &[2], vec![0.0; 2]),
            ],
            &["tensor fc.bias", "layer fc", "1 channels"],
        ),
        (
            bits,
            "[[layer]]\nname = \"fc\"\nop = \"dense\"\nweights = \"bits\"",
            &[("fc.weight", &[1, 3], vec![1.0, 0.5, 1.0])],
            &["weight 0.5 of output 0, input 1", "weights = \"sign\""],
        ),
        (
            bits,
            &format!("{dense}\nflattened = \"chw\""),
            &[("fc.weight", &[1, 3], vec![0.0; 3])],
            &["flattened = \"chw\"", "remove the layer"],
        ),
        (
            bits,
            conv,
            &[],
            &["node c (conv2d)", "[height, width, channels]"],
        ),
        (
            image,
            conv,
            &[("c.weight", &[2, 4, 3, 3], vec![0.0; 72])],
            &["4 input channels", "has 3"],
        ),
        (
            image,
            &format!("{conv}\ngroups = 2"),
            &[],
            &["groups = 2 does not divide"],
        ),
        (
            image,
            &format!("{conv}\nstride = 0"),
            &[("c.weight", &[1, 3, 1, 1], vec![0.0; 3])],
            &["stride [0, 0]"],
        ),
        (
            image,
            conv,
            &[("c.weight", &[1, 3, 5, 5], vec![0.0; 75])],
            &["node c (conv2d)"],
        ),
        (
            bits,
            "[[layer]]\nop = \"sign\"",
            &[],
            &["node sign1 (sign)"],
        ),
        (
            bits,
            "[[layer]]\nname = \"t\"\nop = \"threshold\"",
            &[],
            &["has no at"],
        ),
        (
            REAL_3,
            "[[layer]]\nname = \"t\"\nop = \"threshold\"\nat = [1, 2]",
            &[],
            &["at has 2 numbers for 3"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"quantize\"\nbits = 2\ncuts = [1, 2]",
            &[],
            &["node quantize1"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"affine\"",
            &[],
            &["neither scale nor shift"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"affine\"\nscale = nan",
            &[],
            &["scale: number 0 is NaN"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"relu\"\ninputs = [\"later\"]",
            &[],
            &["\"later\" is no layer before"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"relu\"\ninputs = []",
            &[],
            &["has 0 inputs; it takes 1"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"add\"",
            &[],
            &["has 1 inputs; it takes 2"],
        ),
        (
            REAL_3,
            "[[layer]]\nname = \"input\"\nop = \"relu\"",
            &[],
            &["name is taken"],
        ),
        (
            REAL_3,
            "[[layer]]\nop = \"reshape\"\nshape = [4]",
            &[],
            &["node reshape1 (reshape)"],
        ),
        (
            image,
            "[[layer]]\nop = \"avg_pool\"\nkernel = 2\npadding = 1",
            &[],
            &["no count_pads"],
        ),
        (
            image,
            "[[layer]]\nop = \"max_pool\"\nkernel = 2\ncount_pads = true",
            &[],
            &["belongs to avg_pool"],
        ),
        (
            "kind = \"levels\"\nshape = [3]",
            dense,
            &[],
            &["input", "needs bits"],
        ),
        (
            "kind = \"real\"\nbits = 3\nshape = [3]",
            dense,
            &[],
            &["bits belongs"],
        ),
        (
            "kind = \"levels\"\nbits = 9\nshape = [3]",
            dense,
            &[],
            &["bits is not from 1 to 8"],
        ),
        (
            "kind = \"real\"\nshape = []",
            dense,
            &[],
            &["input", "1 to 4 sizes"],
        ),
        (
            "kind = \"real\"\nshape = [9999999999, 9999999999]",
            dense,
            &[],
            &["1 to 4 sizes"],
        ),
        (
            "kind = \"levels\"\nbits = 8\nshape = [3]",
            "[[layer]]\nop = \"sign\"",
            &[],
            &["never negative"],
        ),
    ];
    for (input, layers, tensors, words) in cases {
        assert_error(&write_f32(&with_input(input, layers), tensors), words);
    }
}

#[test]
fn broken_files_are_named() {
    let files = write_f32(&with_input(REAL_3, "[[layer]]\nop = \"relu\""), &[]);
    fs::write(&files.tensors, [1, 2, 3]).unwrap();
    assert_error(&files, &["net.safetensors", "the header"]);
    fs::remove_file(&files.tensors).unwrap();
    assert_error(&files, &["net.safetensors"]);
    fs::write(&files.toml, [b'a', 0xff]).unwrap();
    assert_error(&files, &["net.toml", "byte 1", "UTF-8"]);
    fs::write(&files.toml, "weights = 3").unwrap();
    assert_error(&files, &["net.toml", "line 1"]);
}
