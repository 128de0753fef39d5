//! The playground: the committed page is what its sources give, and it reads digits in a browser.

#[path = "../../../../examples/browser/page.rs"]
mod page;

use std::process::Command;

use crate::tools::{has_tool, run};

/// Draws digits with a pointer and writes the answers to the page: `#test`, one word each.
const DRAW: &str = r##"
<script type="module">
while (!document.body.dataset.ready) await new Promise((wake) => setTimeout(wake, 10));
const pad = document.getElementById("pad");
const said = [];
const send = (kind, [x, y]) => {
  const { left, top, width } = pad.getBoundingClientRect();
  const place = { clientX: left + x * width, clientY: top + y * width };
  pad.dispatchEvent(new PointerEvent(kind, { pointerId: 1, button: 0, bubbles: true, ...place }));
};
const arc = (x, y, radius, from, to) => Array.from({ length: 25 }, (_, i) => {
  const angle = (Math.PI / 180) * (from + ((to - from) * i) / 24);
  return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
});
const DIGITS = {
  0: [[...arc(0.5, 0.42, 0.2, -90, 0), ...arc(0.5, 0.6, 0.2, 0, 180), ...arc(0.5, 0.42, 0.2, 180, 270)]],
  1: [[[0.5, 0.2], [0.5, 0.5], [0.5, 0.8]]],
  2: [[...arc(0.5, 0.38, 0.18, 200, 390), [0.34, 0.78], [0.7, 0.78]]],
  3: [[...arc(0.48, 0.34, 0.15, 200, 450), ...arc(0.48, 0.64, 0.16, -90, 160)]],
  4: [[[0.36, 0.2], [0.32, 0.52], [0.68, 0.52]], [[0.64, 0.22], [0.62, 0.84]]],
  7: [[[0.3, 0.22], [0.68, 0.22], [0.6, 0.4], [0.48, 0.82]]],
};
for (const [digit, strokes] of Object.entries(DIGITS)) {
  document.getElementById("clear").click();
  for (const [first, ...rest] of strokes) {
    send("pointerdown", first);
    for (const point of rest) send("pointermove", point);
    send("pointerup", rest.at(-1));
  }
  said.push(`${digit}:${document.getElementById("answer").textContent}`);
}
// The same digit, small and in a corner, is centred and enlarged.
document.getElementById("clear").click();
const [seven] = DIGITS[7].map((stroke) => stroke.map(([x, y]) => [0.05 + x / 4, 0.7 + y / 4]));
send("pointerdown", seven[0]);
for (const point of seven.slice(1)) send("pointermove", point);
send("pointerup", seven.at(-1));
said.push(`corner:${document.getElementById("answer").textContent}`);
const best = document.querySelector("#scores .best span").textContent;
const maps = [...document.querySelectorAll("#layers canvas")].map((map) => {
  const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
  const colours = new Set(Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 3).join()));
  return `${map.width}x${map.height}:${colours.size}`;
});
const wide = document.documentElement.scrollWidth > innerWidth;
const test = document.createElement("p");
test.id = "test";
test.textContent = [...said, `best:${best}`, ...maps, `wide:${wide}`].join(" ");
document.body.append(test);
</script>
</body>"##;

#[test]
fn the_committed_page_is_what_its_sources_give() {
    let committed = std::fs::read_to_string(page::path()).expect("the page is committed");
    let fresh = page::page().expect("the zoo has the network");
    assert!(
        committed == fresh,
        "examples/browser/index.html is old; run `cargo run -p onebit-emit --example playground`"
    );
}

#[test]
fn drawn_digits_are_read_in_a_browser() {
    if !has_tool("chromium", "chromium") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let file = folder.path().join("drawn.html");
    let page = page::page().expect("the zoo has the network");
    std::fs::write(&file, page.replace("</body>", DRAW)).expect("the folder is writable");
    for size in ["1000,900", "500,800"] {
        let mut chromium = Command::new("chromium");
        chromium
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args([
                "--virtual-time-budget=20000",
                &format!("--window-size={size}"),
            ])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .arg(format!("file://{}", file.display()));
        let dom = run(&mut chromium);
        let said = dom
            .split("<p id=\"test\">")
            .nth(1)
            .and_then(|rest| rest.split("</p>").next())
            .unwrap_or_else(|| panic!("the script did not end:\n{}", &dom[dom.len() / 2..]));
        assert_eq!(
            said,
            "0:0 1:1 2:2 3:3 4:4 7:7 corner:7 best:7 16x16:2 16x16:2 16x16:2 wide:false"
        );
    }
}
