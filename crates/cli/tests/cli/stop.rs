//! Ctrl-C: the last checkpoint stays whole, and a resumed run ends as if nothing had happened.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::{ok, onebit, tiny_recipe};

#[test]
fn a_stopped_and_resumed_run_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), tiny_recipe("t", 60)).unwrap();
    let mut child = onebit()
        .current_dir(folder.path())
        .args(["train", "r.toml", "--out", "stopped", "--threads", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(
        stderr.any(|line| line.contains("epoch 3/60")),
        "training says nothing about its epochs"
    );
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let rest: Vec<String> = stderr.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let command = rest.last().unwrap().trim();
    assert_eq!(
        command,
        "onebit train r.toml --out stopped --threads 1 --resume"
    );
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    ok(folder.path(), &words);
    ok(
        folder.path(),
        &["train", "r.toml", "--out", "whole", "--threads", "1"],
    );
    let read = |run: &str, name: &str| std::fs::read(folder.path().join(run).join(name)).unwrap();
    for name in ["t.net", "t.bnn", "confusion.svg"] {
        assert_eq!(read("stopped", name), read("whole", name), "{name}");
    }
    let epochs = |run: &str| {
        String::from_utf8(read(run, "log.jsonl"))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!((epochs("stopped"), epochs("whole")), (60, 60));
}
