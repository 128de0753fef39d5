//! Small images as text.
//!
//! In: 8-bit images of height, width and channels. Out: lines of half blocks, two pixel rows a line, several
//! images beside each other.

/// Columns of text that images beside each other may take.
const COLUMNS: usize = 78;

/// An image with the words beneath it.
pub struct Picture<'a> {
    /// `[height][width][channels]`.
    pub pixels: &'a [u8],
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// Words beneath; cut to the image's width plus two.
    pub caption: String,
}

/// Height, width and channels, if a shape is an image's.
pub fn image_shape(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [h, w, c] if (2..=64).contains(&h) && (2..=COLUMNS).contains(&w) && c > 0 => {
            Some([h, w, c])
        }
        _ => None,
    }
}

/// How many images of this shape fit beside each other.
pub fn n_beside(shape: [usize; 3]) -> usize {
    (COLUMNS / (shape[1] + 2)).max(1)
}

/// Draws pictures of one shape beside each other.
pub fn row(pictures: &[Picture<'_>]) -> String {
    let Some(first) = pictures.first() else {
        return String::new();
    };
    let mut lines = Vec::new();
    for y in (0..first.shape[0]).step_by(2) {
        let cells: Vec<String> = pictures.iter().map(|picture| line(picture, y)).collect();
        lines.push(cells.join("  ").trim_end().to_string());
    }
    let width = first.shape[1];
    let captions: Vec<String> = pictures
        .iter()
        .map(|picture| {
            format!(
                "{:<width$}",
                picture.caption.chars().take(width + 1).collect::<String>()
            )
        })
        .collect();
    lines.push(captions.join("  ").trim_end().to_string());
    lines.join("\n")
}

/// Two rows of pixels as one line of text.
fn line(picture: &Picture<'_>, y: usize) -> String {
    let [height, width, channels] = picture.shape;
    let is_set = |y: usize, x: usize| {
        let pixel = &picture.pixels[(y * width + x) * channels..][..channels];
        y < height && pixel.iter().map(|&p| usize::from(p)).sum::<usize>() >= 96 * channels
    };
    (0..width)
        .map(
            |x| match (is_set(y, x), y + 1 < height && is_set(y + 1, x)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_become_one_line() {
        let picture = Picture {
            pixels: &[255, 0, 255, 0, 255, 255, 255, 0, 255],
            shape: [3, 3, 1],
            caption: "T".into(),
        };
        assert_eq!(row(&[picture]), "▀▄█\n▀ ▀\nT");
    }
}
