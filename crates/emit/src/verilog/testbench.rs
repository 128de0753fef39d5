//! Testbenches that check themselves, and their vectors.
//!
//! Inputs come in; a testbench and two hexadecimal files go out, `NAME_inputs.hex` with one beat a line and
//! `NAME_expected.hex` with one 32-bit answer a line, which the interpreter computes. A testbench stops with an error
//! where a file is shorter than it should be, so that no run passes by reading nothing, and where more answers come
//! than there should be.

use onebit_model::program::{Kind, Type, ValueId};
use onebit_model::{Tensor, interpret};

use super::graph::Graph;
use super::text::range;
use crate::File;

/// Images that are made up where none are given.
const N_MADE_UP: usize = 8;

/// What a testbench has to know of a top module.
pub(super) struct Interface {
    pub(super) module: String,
    /// Bits of the input's bus.
    pub(super) input_bits: usize,
    pub(super) element_bits: usize,
    /// Elements of a beat.
    pub(super) per_beat: usize,
    /// Beats of an image.
    pub(super) n_beats: usize,
    /// Answers of an image.
    pub(super) n_answers: usize,
    /// Cycles without an answer after which a testbench gives up.
    pub(super) limit: u64,
    /// Cycles after the last answer in which none may follow.
    pub(super) drain: u64,
}

/// The elements of a value as the buses carry them: a bit as 0 or 1, numbers as they are.
fn codes(x: &Tensor) -> Vec<i64> {
    match x {
        Tensor::Bits(x) => x.iter().map(|&bit| i64::from(bit)).collect(),
        Tensor::Levels(x) => x.iter().map(|&code| i64::from(code)).collect(),
        Tensor::Int(x) => x.iter().map(|&x| i64::from(x)).collect(),
        Tensor::Real(_) => unreachable!("`check` refuses reals that come in"),
    }
}

/// The elements of a value as answers: a bit as -1 or +1, integers as they are, reals as their bits.
fn answers(x: &Tensor) -> Vec<i64> {
    match x {
        Tensor::Bits(x) => x.iter().map(|&bit| 2 * i64::from(bit) - 1).collect(),
        Tensor::Real(x) => x.iter().map(|x| i64::from(x.to_bits())).collect(),
        other => codes(other),
    }
}

/// Inputs that differ from one another, the same on every machine.
fn made_up(ty: &Type) -> Vec<Tensor> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        // The constants of Knuth's MMIX; the upper bits are the better ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut image = || -> Tensor {
        let n = ty.n_elements();
        match ty.kind {
            Kind::Bits => Tensor::Bits((0..n).map(|_| next() & 1 == 1).collect()),
            Kind::Levels(bits) => {
                Tensor::Levels((0..n).map(|_| (next() & ((1 << bits) - 1)) as u8).collect())
            }
            Kind::Int | Kind::Real => {
                Tensor::Int((0..n).map(|_| (next() % 2001) as i32 - 1000).collect())
            }
        }
    };
    (0..N_MADE_UP).map(|_| image()).collect()
}

/// The two files of vectors: the lines of the inputs and of the answers.
pub(super) fn vector_files(
    graph: &Graph<'_>,
    interface: &Interface,
    vectors: &[Tensor],
) -> (usize, Vec<File>) {
    let made = match vectors {
        [] => made_up(graph.ty(ValueId(0))),
        given => given.to_vec(),
    };
    let (mut inputs, mut expected) = (String::new(), String::new());
    for image in &made {
        let elements = codes(image);
        for beat in elements.chunks(interface.per_beat) {
            inputs.push_str(&beat_line(beat, interface));
        }
        for answer in answers(&interpret(graph.program, graph.types, image)) {
            expected.push_str(&format!("{:08x}\n", answer as u32));
        }
    }
    let file = |name: &str, text: String| File {
        name: format!("{}_{name}.hex", interface.module),
        bytes: text.into_bytes(),
    };
    (
        made.len(),
        vec![file("inputs", inputs), file("expected", expected)],
    )
}

/// A beat in hexadecimal digits, element 0 in the lowest bits.
fn beat_line(elements: &[i64], interface: &Interface) -> String {
    let mut bits = vec![false; interface.input_bits.next_multiple_of(4)];
    for (i, &element) in elements.iter().enumerate() {
        for bit in 0..interface.element_bits {
            bits[i * interface.element_bits + bit] = (element >> bit) & 1 == 1;
        }
    }
    let digit = |nibble: &[bool]| {
        let value = nibble
            .iter()
            .rev()
            .fold(0, |sum, &bit| 2 * sum + u32::from(bit));
        char::from_digit(value, 16).expect("four bits are a hexadecimal digit")
    };
    let mut line: String = bits.chunks(4).rev().map(digit).collect();
    line.push('\n');
    line
}

/// The testbench of a module with AXI streams, and its vectors.
pub(super) fn stream_files(
    graph: &Graph<'_>,
    interface: &Interface,
    vectors: &[Tensor],
) -> Vec<File> {
    let (n_images, mut files) = vector_files(graph, interface, vectors);
    let text = STREAM_TESTBENCH
        .replace("@MODULE@", &interface.module)
        .replace("@IMAGES@", &n_images.to_string())
        .replace("@BEATS@", &interface.n_beats.to_string())
        .replace("@ANSWERS@", &interface.n_answers.to_string())
        .replace("@LIMIT@", &interface.limit.to_string())
        .replace("@DRAIN@", &interface.drain.to_string())
        .replace("@BUS@", &range(interface.input_bits));
    files.push(File {
        name: format!("{}_tb.v", interface.module),
        bytes: text.into_bytes(),
    });
    files
}

const STREAM_TESTBENCH: &str = "\
// Drives @MODULE@ with @MODULE@_inputs.hex and compares its answers with @MODULE@_expected.hex, which are read from
// the folder of the run.
// STALLS = 1 holds the streams up now and then. IMAGES is the number of images of the files.
module @MODULE@_tb;
  parameter IMAGES = @IMAGES@;
  parameter STALLS = 0;
  localparam BEATS = @BEATS@;
  localparam ANSWERS = @ANSWERS@;
  reg aclk = 1'b0;
  reg aresetn = 1'b0;
  reg @BUS@inputs [0:IMAGES*BEATS-1];
  reg [31:0] expected [0:IMAGES*ANSWERS-1];
  integer sent = 0, received = 0, errors = 0, cycle = 0;
  integer first_answer = 0, last_answer = 0, position = 0;
  reg [15:0] noise = 16'hace1;
  reg s_valid = 1'b0;
  reg m_ready = 1'b0;
  reg @BUS@s_data;
  wire s_ready, m_valid, m_last;
  wire [31:0] m_data;
  @MODULE@ dut (
    .aclk(aclk), .aresetn(aresetn),
    .s_axis_tvalid(s_valid), .s_axis_tready(s_ready), .s_axis_tdata(s_data), .s_axis_tlast(1'b0),
    .m_axis_tvalid(m_valid), .m_axis_tready(m_ready), .m_axis_tdata(m_data), .m_axis_tlast(m_last)
  );
  initial begin
    $readmemh(\"@MODULE@_inputs.hex\", inputs);
    $readmemh(\"@MODULE@_expected.hex\", expected);
    if (IMAGES < 1 || ^inputs[IMAGES*BEATS-1] === 1'bx || ^expected[IMAGES*ANSWERS-1] === 1'bx) begin
      $display(\"FAIL: @MODULE@_inputs.hex or @MODULE@_expected.hex is missing or short, or there are no images\");
      $stop;
    end
  end
  always #5 aclk = !aclk;
  always @(posedge aclk) begin
    cycle <= cycle + 1;
    aresetn <= cycle >= 4;
    noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    m_ready <= STALLS == 0 || noise[3:2] != 2'b00;
    if (aresetn && (!s_valid || s_ready)) begin
      if (sent < IMAGES * BEATS && (STALLS == 0 || noise[1:0] != 2'b11)) begin
        s_valid <= 1'b1;
        s_data <= inputs[sent];
        sent <= sent + 1;
      end else s_valid <= 1'b0;
    end
    if (m_valid && m_ready && received == IMAGES * ANSWERS) begin
      errors <= errors + 1;
      $display(\"an answer more than there are: %0d\", $signed(m_data));
    end else if (m_valid && m_ready) begin
      if (m_data !== expected[received] || m_last !== (position == ANSWERS - 1)) begin
        errors <= errors + 1;
        if (errors < 10)
          $display(\"image %0d, answer %0d: %0d instead of %0d\", received / ANSWERS, position,
            $signed(m_data), $signed(expected[received]));
      end
      if (received == ANSWERS - 1) first_answer <= cycle;
      last_answer <= cycle;
      received <= received + 1;
      position <= m_last ? 0 : position + 1;
    end
    if (received == IMAGES * ANSWERS && cycle > last_answer + @DRAIN@) begin
      $display(\"cycles: first image %0d, then %0d for %0d images\", first_answer, last_answer - first_answer,
        IMAGES - 1);
      if (errors == 0) begin
        $display(\"PASS: %0d answers of %0d images\", received, IMAGES);
        $finish;
      end else begin
        $display(\"FAIL: %0d answers differ\", errors);
        $stop;
      end
    end
    if (cycle > last_answer + @LIMIT@) begin
      $display(\"FAIL: no answer for @LIMIT@ cycles\");
      $stop;
    end
  end
endmodule
";

/// The testbench of an unrolled module, and its vectors: one image and one whole answer a line.
pub(super) fn bus_files(
    graph: &Graph<'_>,
    interface: &Interface,
    answer_bits: usize,
    vectors: &[Tensor],
) -> Vec<File> {
    let (n_images, mut files) = vector_files(graph, interface, vectors);
    let text = BUS_TESTBENCH
        .replace("@MODULE@", &interface.module)
        .replace("@IMAGES@", &n_images.to_string())
        .replace("@ANSWERS@", &interface.n_answers.to_string())
        .replace("@BITS@", &answer_bits.to_string())
        .replace("@EXTENDED@", extended(graph, answer_bits))
        .replace("@LIMIT@", &interface.limit.to_string())
        .replace("@DRAIN@", &interface.drain.to_string())
        .replace("@IN@", &range(interface.input_bits))
        .replace("@OUT@", &range(interface.n_answers * answer_bits));
    files.push(File {
        name: format!("{}_tb.v", interface.module),
        bytes: text.into_bytes(),
    });
    files
}

/// An answer as 32 bits.
fn extended(graph: &Graph<'_>, answer_bits: usize) -> &'static str {
    match graph.ty(graph.program.output).kind {
        Kind::Bits => "{{31{!part[0]}}, 1'b1}",
        _ if answer_bits == 32 => "part",
        Kind::Levels(_) => "{{(32-BITS){1'b0}}, part}",
        Kind::Int | Kind::Real => "{{(32-BITS){part[BITS-1]}}, part}",
    }
}

const BUS_TESTBENCH: &str = "\
// Drives @MODULE@ with @MODULE@_inputs.hex and compares its answers with @MODULE@_expected.hex, which are read from
// the folder of the run.
// STALLS = 1 takes the enable away now and then. IMAGES is the number of images of the files.
module @MODULE@_tb;
  parameter IMAGES = @IMAGES@;
  parameter STALLS = 0;
  localparam ANSWERS = @ANSWERS@;
  localparam BITS = @BITS@;
  reg clk = 1'b0;
  reg rst = 1'b1;
  reg en = 1'b0;
  reg @IN@inputs [0:IMAGES-1];
  reg [31:0] expected [0:IMAGES*ANSWERS-1];
  integer sent = 0, received = 0, errors = 0, cycle = 0, last_answer = 0, i = 0;
  reg [15:0] noise = 16'hace1;
  reg in_valid = 1'b0;
  reg @IN@in_data;
  wire out_valid;
  wire @OUT@out_data;
  reg [BITS-1:0] part;
  reg [31:0] answer;
  @MODULE@ dut (
    .clk(clk), .rst(rst), .en(en), .in_valid(in_valid), .in_data(in_data),
    .out_valid(out_valid), .out_data(out_data)
  );
  initial begin
    $readmemh(\"@MODULE@_inputs.hex\", inputs);
    $readmemh(\"@MODULE@_expected.hex\", expected);
    if (IMAGES < 1 || ^inputs[IMAGES-1] === 1'bx || ^expected[IMAGES*ANSWERS-1] === 1'bx) begin
      $display(\"FAIL: @MODULE@_inputs.hex or @MODULE@_expected.hex is missing or short, or there are no images\");
      $stop;
    end
  end
  always #5 clk = !clk;
  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 4;
    noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    en <= cycle < 8 || STALLS == 0 || noise[3:2] != 2'b00;
    if (cycle >= 8 && en) begin
      in_valid <= sent < IMAGES;
      if (sent < IMAGES) begin
        in_data <= inputs[sent];
        sent <= sent + 1;
      end
      if (out_valid && received == IMAGES) begin
        errors = errors + 1;
        $display(\"an answer more than there are\");
      end else if (out_valid) begin
        for (i = 0; i < ANSWERS; i = i + 1) begin
          part = out_data[i*BITS +: BITS];
          answer = @EXTENDED@;
          if (answer !== expected[received*ANSWERS+i]) begin
            errors = errors + 1;
            if (errors < 10)
              $display(\"image %0d, answer %0d: %0d instead of %0d\", received, i, $signed(answer),
                $signed(expected[received*ANSWERS+i]));
          end
        end
        received <= received + 1;
        last_answer <= cycle;
      end
    end
    if (received == IMAGES && cycle > last_answer + @DRAIN@) begin
      $display(\"cycles: %0d\", last_answer);
      if (errors == 0) begin
        $display(\"PASS: %0d answers of %0d images\", received * ANSWERS, IMAGES);
        $finish;
      end else begin
        $display(\"FAIL: %0d answers differ\", errors);
        $stop;
      end
    end
    if (cycle > last_answer + @LIMIT@) begin
      $display(\"FAIL: %0d answers are missing\", (IMAGES - received) * ANSWERS);
      $stop;
    end
  end
endmodule
";
