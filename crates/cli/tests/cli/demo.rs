//! The demo from end to end.

use crate::common::ok;

#[test]
fn the_demo_trains_proves_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let told = ok(folder.path(), &["demo", "--out", "out"]);
    assert!(told.starts_with("onebit demo: "), "{told}");
    for words in [
        "net, interpreter, scalar",
        "all 450 test images",
        "█",
        "images/s",
        "report.html",
    ] {
        assert!(told.contains(words), "{words:?} is missing in {told}");
    }
    let line = told
        .lines()
        .find(|line| line.starts_with("test accuracy"))
        .unwrap();
    let accuracy: f64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(accuracy >= 92.0, "{line}");
    let report = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("float32 twin"));
    assert!(
        ok(folder.path(), &["eval", "out/demo.bnn", "--data", "digits"])
            .contains(&format!("{accuracy:.2} %"))
    );
    // A second demo starts afresh.
    assert!(folder.path().join("out/demo.net").is_file());
}
