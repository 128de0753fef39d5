//! A self-contained HTML page.
//!
//! In: a title, tables, pictures as SVG, plain text. Out: one file that needs no network and no other file.

use crate::table::{Table, escape};

/// A page in the making.
pub struct Page {
    title: String,
    body: String,
}

const STYLE: &str = "\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: .9rem; } div.wide { overflow-x: auto; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; line-height: 1.2; } svg { max-width: 100%; height: auto; }
";

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Page {
        Page {
            title: title.into(),
            body: format!("<h1>{}</h1>\n", escape(title)),
        }
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        self.body.push_str(&format!("<h2>{}</h2>\n", escape(text)));
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) {
        self.body.push_str(&format!("<p>{}</p>\n", escape(text)));
    }

    /// Text with its lines as they are: commands, recipes, drawings.
    pub fn verbatim(&mut self, text: &str) {
        self.body
            .push_str(&format!("<pre>{}</pre>\n", escape(text)));
    }

    /// A table.
    pub fn table(&mut self, table: &Table) {
        self.body
            .push_str(&format!("<div class=\"wide\">\n{}</div>\n", table.html()));
    }

    /// A picture, with words for those who cannot see it.
    pub fn svg(&mut self, svg: &str, words: &str) {
        self.body.push_str(&format!(
            "<figure role=\"img\" aria-label=\"{}\">\n{svg}\n</figure>\n",
            escape(words)
        ));
    }

    /// The page as HTML.
    pub fn html(&self) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
            escape(&self.title),
            self.body
        )
    }
}
