//! Tables and numbers for people.
//!
//! In: rows of text. Out: aligned plain text for the terminal and Markdown, and numbers with units.

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table: headings with their alignment, and rows of as many cells.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(headings: &[(&'static str, Align)]) -> Table {
        Table {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// The headings.
    fn headings(&self) -> impl Iterator<Item = &'static str> {
        self.headings.iter().map(|(heading, _)| *heading)
    }

    /// Aligned text, two spaces between columns, without a newline at the end.
    pub fn text(&self) -> String {
        let headings: Vec<String> = self.headings().map(String::from).collect();
        let all = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| {
                all()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let lines: Vec<String> = all()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .zip(&widths)
                    .zip(&self.headings)
                    .map(|((cell, &width), (_, align))| match align {
                        Align::Left => format!("{cell:<width$}"),
                        Align::Right => format!("{cell:>width$}"),
                    })
                    .collect();
                cells.join("  ").trim_end().to_string()
            })
            .collect();
        lines.join("\n")
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.headings().map(String::from).collect());
        let rules = self.headings.iter().map(|(_, align)| match align {
            Align::Left => "---".to_string(),
            Align::Right => "---:".to_string(),
        });
        text.push_str(&line(rules.collect()));
        for row in &self.rows {
            text.push_str(&line(
                row.iter().map(|cell| cell.replace('|', "\\|")).collect(),
            ));
        }
        text
    }

    /// An HTML table.
    pub fn html(&self) -> String {
        let class = |align: Align| {
            if align == Align::Right {
                " class=\"n\""
            } else {
                ""
            }
        };
        let mut text = String::from("<table>\n<tr>");
        for (heading, align) in &self.headings {
            text.push_str(&format!("<th{}>{}</th>", class(*align), escape(heading)));
        }
        text.push_str("</tr>\n");
        for row in &self.rows {
            text.push_str("<tr>");
            for (cell, (_, align)) in row.iter().zip(&self.headings) {
                text.push_str(&format!("<td{}>{}</td>", class(*align), escape(cell)));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</table>\n");
        text
    }
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A whole number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A number with the prefix (k, M, G, T) that leaves one to three digits before the point, for a unit after it.
pub fn with_prefix(number: f64) -> String {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match prefixes.into_iter().find(|(size, _)| number >= *size) {
        Some((size, prefix)) => format!("{:.2} {prefix}", number / size),
        None => format!("{number:.2}"),
    }
}

/// A name of at most so many characters; of a longer one the middle is left out.
pub fn shortened(name: &str, width: usize) -> String {
    let n = name.chars().count();
    if n <= width {
        return name.to_string();
    }
    let kept = width.saturating_sub(1);
    let head = name.chars().take(kept.div_ceil(2));
    let tail = name.chars().skip(n - kept / 2);
    head.chain(['…']).chain(tail).collect()
}

/// A bar that fills this share of `width` characters, to an eighth of one; what is above zero is seen.
pub fn bar(share: f64, width: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let all = 8 * width;
    let eighths = (share.clamp(0.0, 1.0) * all as f64).round() as usize;
    let eighths = eighths.max(usize::from(share > 0.0)).min(all);
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// An energy given in picojoules, in the unit that reads best.
pub fn energy(picojoules: f64) -> String {
    let units = [(1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ")];
    match units.into_iter().find(|(size, _)| picojoules >= *size) {
        Some((size, unit)) => format!("{:.2} {unit}", picojoules / size),
        None => format!("{picojoules:.2} pJ"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["longer".into(), "1,000".into()]);
        assert_eq!(table.text(), "name        n\na           1\nlonger  1,000");
        assert!(table.markdown().contains("| --- | ---: |"));
        assert!(table.html().contains("<td class=\"n\">1,000</td>"));
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("fc1", 3), "fc1");
        assert_eq!(shortened("features.conv2", 8), "feat…nv2");
        assert_eq!(shortened("größe", 4), "gr…e");
    }

    #[test]
    fn a_bar_fills_its_share() {
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(1e-6, 10), "▏");
        assert_eq!(bar(0.0, 10), "");
        assert_eq!(bar(0.5, 0), "");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(2_913_290), "2,913,290");
        assert_eq!(with_prefix(2.5e12), "2.50 T");
        assert_eq!(energy(1234.0), "1.23 nJ");
        assert_eq!(percent(0.98765), "98.77 %");
    }
}
