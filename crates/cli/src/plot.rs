//! Pictures of a training run as SVG.
//!
//! In: the history of a run, a confusion matrix. Out: self-contained SVG text. Colours are those of Okabe and
//! Ito, which most colour-blind people can tell apart.

use std::ops::Range;

use onebit_train::fit::EpochRecord;
use onebit_train::recipe::StageKind;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::Failure;
use crate::progress::kind_name;

const BLUE_LINE: RGBColor = RGBColor(0, 114, 178);
const ORANGE_LINE: RGBColor = RGBColor(230, 140, 0);
const GREEN_LINE: RGBColor = RGBColor(0, 158, 115);
const RED_LINE: RGBColor = RGBColor(204, 80, 0);
const INK: RGBColor = RGBColor(50, 50, 50);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Values below this are not drawn on a logarithmic axis.
const LEAST: f64 = 1e-6;

/// Width of the charts; their legends are to the right of it.
const CHART_WIDTH: u32 = 760;

/// Longest class name that is drawn whole.
const NAME_CHARS: usize = 14;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Points of one line, in order.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// How the vertical axis runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// Values as they are.
    Linear,
    /// The points hold decimal logarithms.
    Log,
}

/// Loss, accuracy and flips by epoch: all stages one after the other, the float twin from epoch 1 again.
pub fn curves(history: &[EpochRecord], name: &str) -> Result<String, Failure> {
    let mut svg = String::new();
    draw_curves(&mut svg, history, name)
        .map_err(|error| Failure::Failed(format!("cannot draw the curves: {error}")))?;
    Ok(svg)
}

/// The confusion matrix of the test split.
pub fn confusion(matrix: &[Vec<usize>], names: &[String], title: &str) -> Result<String, Failure> {
    let mut svg = String::new();
    draw_confusion(&mut svg, matrix, names, title)
        .map_err(|error| Failure::Failed(format!("cannot draw the confusion matrix: {error}")))?;
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

#[expect(
    clippy::too_many_lines,
    reason = "one chart after another, top to bottom"
)]
fn draw_curves(svg: &mut String, history: &[EpochRecord], name: &str) -> Drawn {
    let root = SVGBackend::with_string(svg, (CHART_WIDTH + 220, 960)).into_drawing_area();
    root.fill(&WHITE)?;
    let area = root.titled(name, ("sans-serif", 22).into_font().color(&INK))?;
    let panels = area.split_evenly((3, 1));
    let (bits, twin): (Vec<&EpochRecord>, Vec<&EpochRecord>) = history
        .iter()
        .partition(|record| record.kind != StageKind::Float);
    let last = bits.len().max(twin.len()).max(1);
    // What a logarithm cannot show is left out.
    let log = |value: f64| {
        if value >= LEAST {
            value.log10()
        } else {
            f64::NAN
        }
    };
    let line =
        |name: &str, colour, records: &[&EpochRecord], value: &dyn Fn(&EpochRecord) -> f64| Line {
            name: name.into(),
            colour,
            points: records
                .iter()
                .enumerate()
                .map(|(idx, record)| ((idx + 1) as f64, value(record)))
                .filter(|point| point.1.is_finite())
                .collect(),
        };
    let loss = [
        line("training loss", BLUE_LINE, &bits, &|r| log(r.loss)),
        line("float twin", GREEN_LINE, &twin, &|r| log(r.loss)),
    ];
    // Without a validation split its accuracy is recorded as zero.
    let has_validation = history.iter().any(|record| record.val_accuracy > 0.0);
    let training = |r: &EpochRecord| 100.0 * r.train_accuracy;
    let validation = |r: &EpochRecord| 100.0 * r.val_accuracy;
    let accuracy = match has_validation {
        true => vec![
            line("training batches", BLUE_LINE, &bits, &training),
            line("validation", ORANGE_LINE, &bits, &validation),
            line("float twin, validation", GREEN_LINE, &twin, &validation),
        ],
        false => vec![
            line("training batches", BLUE_LINE, &bits, &training),
            line("float twin, training batches", GREEN_LINE, &twin, &training),
        ],
    };
    let binary: Vec<&EpochRecord> = bits
        .iter()
        .copied()
        .filter(|r| r.kind == StageKind::Bitwise)
        .collect();
    let first = bits
        .iter()
        .take_while(|r| r.kind != StageKind::Bitwise)
        .count() as f64;
    let shift = |mut line: Line| {
        line.points.iter_mut().for_each(|point| point.0 += first);
        line
    };
    let flips = [
        shift(line("weights flipped a step", RED_LINE, &binary, &|r| {
            log(r.flip_ratio)
        })),
        shift(line("weights starved", BLUE_LINE, &binary, &|r| {
            log(r.starved)
        })),
    ];
    let marks = stage_marks(&bits);
    panel(&panels[0], "loss", &loss, Axis::Log, last, &marks)?;
    panel(
        &panels[1],
        "accuracy in %",
        &accuracy,
        Axis::Linear,
        last,
        &marks,
    )?;
    panel(
        &panels[2],
        "share of weights",
        &flips,
        Axis::Log,
        last,
        &marks,
    )?;
    root.present()?;
    Ok(())
}

/// Where each stage begins, with its name; nothing when there is only one.
fn stage_marks(bits: &[&EpochRecord]) -> Vec<(f64, String)> {
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (idx, record) in bits.iter().enumerate() {
        if record.epoch == 1 || idx == 0 {
            marks.push((
                idx as f64 + 0.5,
                format!("{} {}", kind_name(record.kind), record.phase + 1),
            ));
        }
    }
    if marks.len() > 1 { marks } else { Vec::new() }
}

fn panel(
    area: &Area<'_>,
    title: &str,
    lines: &[Line],
    axis: Axis,
    last: usize,
    marks: &[(f64, String)],
) -> Drawn {
    let text = ("sans-serif", 14).into_font().color(&INK);
    let span = span(lines, axis);
    let (chart_area, side) = area.split_horizontally(CHART_WIDTH);
    let mut chart = ChartBuilder::on(&chart_area)
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(0.5..(last as f64 + 0.5), span.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .axis_style(INK)
        .x_desc("epoch")
        .y_desc(title)
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .x_labels(10)
        .y_labels(6)
        .x_label_formatter(&|x| {
            if x.fract().abs() < 1e-6 {
                format!("{x:.0}")
            } else {
                String::new()
            }
        })
        .y_label_formatter(&|y| label(*y, axis))
        .draw()?;
    draw_marks(&mut chart, marks, &span)?;
    for line in lines {
        let points = line.points.iter().copied();
        let shown = points.filter(|point| span.contains(&point.1));
        chart.draw_series(LineSeries::new(shown, line.colour.stroke_width(2)))?;
        if line.points.len() == 1 {
            let dot = |point: &(f64, f64)| Circle::new(*point, 3, line.colour.filled());
            chart.draw_series(line.points.iter().map(dot))?;
        }
    }
    draw_legend(&side, lines)
}

/// The lines' names beside the chart, where they cover nothing.
fn draw_legend(area: &Area<'_>, lines: &[Line]) -> Drawn {
    let text = ("sans-serif", 13).into_font().color(&INK);
    let drawn = lines.iter().filter(|line| !line.points.is_empty());
    for (idx, line) in drawn.enumerate() {
        let y = 24 + 22 * idx as i32;
        let stroke = line.colour.stroke_width(3);
        area.draw(&PathElement::new([(4, y), (24, y)], stroke))?;
        let left = Pos::new(HPos::Left, VPos::Center);
        area.draw_text(&line.name, &text.pos(left), (30, y))?;
    }
    Ok(())
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw_marks(chart: &mut Chart<'_, '_>, marks: &[(f64, String)], span: &Range<f64>) -> Drawn {
    let style = ("sans-serif", 12).into_font().color(&INK.mix(0.7));
    for (x, name) in marks {
        let ends = [(*x, span.start), (*x, span.end)];
        chart.draw_series(std::iter::once(PathElement::new(ends, INK.mix(0.35))))?;
        let at = (*x, span.end);
        chart.draw_series(std::iter::once(
            EmptyElement::at(at) + Text::new(format!(" {name}"), (3, 3), style.clone()),
        ))?;
    }
    Ok(())
}

/// The range of all points with a little room, and whole decades on a logarithmic axis.
fn span(lines: &[Line], axis: Axis) -> Range<f64> {
    let mut all: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.1))
        .collect();
    all.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (all.first(), all.last()) else {
        return 0.0..1.0;
    };
    match axis {
        Axis::Log => low.floor()..high.ceil().max(low.floor() + 1.0),
        Axis::Linear => {
            // The first epochs are far below what one wants to tell apart.
            let low = if all.len() > 40 {
                all[all.len() / 20]
            } else {
                low
            };
            let room = (0.05 * (high - low)).max(0.25);
            (low - room)..(high + room).min(100.0 + room / 4.0)
        }
    }
}

fn label(y: f64, axis: Axis) -> String {
    match axis {
        Axis::Linear => format!("{y:.1}"),
        Axis::Log if (y - y.round()).abs() > 0.01 => {
            let value = 10f64.powf(y);
            if value >= 0.1 {
                format!("{value:.2}")
            } else {
                format!("{value:.1e}")
            }
        }
        Axis::Log if (-3.5..4.5).contains(&y) => {
            format!("{}", (10f64.powi(y.round() as i32) * 1e6).round() / 1e6)
        }
        Axis::Log => format!("1e{y:.0}"),
    }
}

fn draw_confusion(svg: &mut String, matrix: &[Vec<usize>], names: &[String], title: &str) -> Drawn {
    let n = matrix.len().max(1) as i32;
    let cell = (560 / n).clamp(12, 56);
    let longest = names
        .iter()
        .map(|name| name.chars().count().min(NAME_CHARS))
        .max()
        .unwrap_or(0) as i32;
    let is_turned = longest > 3;
    let (left, top) = (24 + 8 * longest, 84);
    let below = if is_turned { 20 + 8 * longest } else { 36 };
    let size = (
        (left + n * cell + 24).max(360) as u32,
        (top + n * cell + below) as u32,
    );
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let centre = Pos::new(HPos::Center, VPos::Center);
    let font = |points: i32| ("sans-serif", points).into_font().color(&INK);
    let middle = size.0 as i32 / 2;
    root.draw_text(title, &font(18).pos(centre), (middle, 28))?;
    root.draw_text(
        "columns: answer, rows: label",
        &font(13).pos(centre),
        (middle, 54),
    )?;
    for (row_idx, row) in matrix.iter().enumerate() {
        let total = row.iter().sum::<usize>().max(1);
        let y = top + row_idx as i32 * cell;
        for (column_idx, &count) in row.iter().enumerate() {
            let x = left + column_idx as i32 * cell;
            let share = count as f64 / total as f64;
            let is_right = row_idx == column_idx;
            root.draw(&Rectangle::new(
                [(x, y), (x + cell, y + cell)],
                shade(share, is_right).filled(),
            ))?;
            root.draw(&Rectangle::new([(x, y), (x + cell, y + cell)], GRID))?;
            if count > 0 && cell >= 22 {
                let ink = if is_right && share > 0.5 { WHITE } else { INK };
                let style = ("sans-serif", (cell / 3).min(15))
                    .into_font()
                    .color(&ink)
                    .pos(centre);
                root.draw_text(&count.to_string(), &style, (x + cell / 2, y + cell / 2))?;
            }
        }
        if cell >= 12 {
            let right = Pos::new(HPos::Right, VPos::Center);
            let name = short(names.get(row_idx));
            root.draw_text(
                &name,
                &font(13.min(cell)).pos(right),
                (left - 8, y + cell / 2),
            )?;
            let (x, y) = (left + row_idx as i32 * cell + cell / 2, top + n * cell + 8);
            if is_turned {
                let turned = ("sans-serif", 13.min(cell))
                    .into_font()
                    .transform(FontTransform::Rotate90);
                root.draw_text(&name, &turned.color(&INK), (x + 5, y))?;
            } else {
                root.draw_text(&name, &font(13.min(cell)).pos(centre), (x, y + 6))?;
            }
        }
    }
    root.present()?;
    Ok(())
}

/// Blue for right answers; orange for wrong ones, darker than their share so that they are seen.
fn shade(share: f64, is_right: bool) -> RGBColor {
    let (colour, strength) = if is_right {
        (BLUE_LINE, share)
    } else {
        (ORANGE_LINE, (share * 4.0).min(1.0).sqrt())
    };
    let mix = |channel: u8| (255.0 - (255.0 - f64::from(channel)) * strength).round() as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}

fn short(name: Option<&String>) -> String {
    name.map_or(String::new(), |name| {
        name.chars().take(NAME_CHARS).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: usize, epoch: usize, kind: StageKind) -> EpochRecord {
        EpochRecord {
            kind,
            phase,
            epoch,
            lr: 0.1,
            loss: 1.0 / epoch as f64,
            train_accuracy: 0.9,
            val_accuracy: 0.8,
            flip_ratio: 0.01,
            starved: 0.2,
            seconds: 1.0,
            flips: Vec::new(),
        }
    }

    #[test]
    fn curves_have_every_line_and_stage() {
        let history = [
            record(0, 1, StageKind::Compress),
            record(0, 2, StageKind::Compress),
            record(1, 1, StageKind::Bitwise),
            record(2, 1, StageKind::Float),
        ];
        let svg = curves(&history, "a <name>").unwrap();
        for words in [
            "training loss",
            "validation",
            "float twin",
            "weights flipped",
            "bitwise 2",
            "a &lt;name",
        ] {
            assert!(svg.contains(words), "{words} is missing");
        }
        assert!(!svg.contains("NaN") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_history_of_one_epoch_and_none_can_be_drawn() {
        assert!(
            curves(&[record(0, 1, StageKind::Bitwise)], "one")
                .unwrap()
                .contains("<circle")
        );
        assert!(!curves(&[], "none").unwrap().contains("NaN"));
    }

    #[test]
    fn a_confusion_matrix_shows_its_counts() {
        let svg = confusion(
            &[vec![7, 0], vec![3, 11]],
            &["no".into(), "yes".into()],
            "test",
        )
        .unwrap();
        for words in ["\n7\n", "\n3\n", "\n11\n", "yes", "no"] {
            assert!(svg.contains(words), "{words:?} is missing in {svg}");
        }
    }
}
