//! The whole path on a tiny net: train, then everything that a run folder is good for.

use serde_json::Value;

use crate::common::{ok, tiny_recipe};

#[test]
fn a_run_leaves_everything_a_person_needs() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny_recipe("tiny", 4)
        + "\n# A comment that must survive.\n[twin]\nkind = \"float\"\nepochs = 2\nbatch = 64\nlr = 0.01\n";
    std::fs::write(folder.path().join("r.toml"), &recipe).unwrap();
    let told = ok(
        folder.path(),
        &["train", "r.toml", "--out", "run", "--threads", "2"],
    );
    for words in [
        "test ",
        "twin ",
        "proof     net, interpreter, scalar",
        "size ",
    ] {
        assert!(told.contains(words), "{words:?} is missing in {told}");
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join("run").join(name)).unwrap();
    assert_eq!(read("tiny.toml"), recipe);
    assert_eq!(read("log.jsonl").lines().count(), 6);
    for name in ["curves.svg", "confusion.svg"] {
        assert!(
            read(name).starts_with("<svg") && read(name).trim_end().ends_with("</svg>"),
            "{name}"
        );
    }
    let report = read("report.html");
    assert!(report.contains("A comment that must survive") && report.matches("<svg").count() == 2);
    assert!(
        !report.contains("src=") && !report.contains("href="),
        "the report needs other files"
    );
    let card = read("tiny.md");
    for words in [
        "64-48-10",
        "float32 twin",
        "onebit train r.toml --out run --threads 2",
        "200 of them held out",
    ] {
        assert!(card.contains(words), "{words:?} is missing in {card}");
    }
    let eval: Value = serde_json::from_str(&ok(
        folder.path(),
        &["eval", "run/tiny.bnn", "--data", "digits", "--json"],
    ))
    .unwrap();
    let result: Value = serde_json::from_str(&read("result.json")).unwrap();
    assert_eq!(eval["correct"], result["test"]["correct"]);
    assert!(eval["accuracy"].as_f64().unwrap() > 0.7, "{eval}");
    assert!(ok(folder.path(), &["verify", "run", "--data", "digits"]).contains("net, interpreter"));
    assert!(ok(folder.path(), &["inspect", "run/tiny.bnn"]).contains("hidden1.sign"));
}
