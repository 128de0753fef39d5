//! `train` on recipes and folders that cannot work.

use std::process::Command;

use crate::common::{fails, ok, ran, tiny_recipe};

#[test]
fn a_wrong_recipe_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let good = tiny_recipe("t", 1);
    let cases = [
        (good.replace("epochs = 1", "epochs = 1\nepoch = 2"), "epoch"),
        (good.replace("[48]", "[0]"), "model.hidden"),
        (
            good.replace("lr = 0.01", "lr = 0.01\nsparsity = 1.0"),
            "stage[0].sparsity",
        ),
        (
            good.replace("\"sign\"\nat = 128", "\"quantiles\"\nlevels = 3"),
            "quantiles",
        ),
        (
            good.replace("validation = 200", "validation = 5000"),
            "validation",
        ),
        (good.replace("name = \"t\"", "name = \"../t\""), "name"),
        ("not toml at all [".into(), "recipe"),
    ];
    for (text, key) in cases {
        std::fs::write(folder.path().join("r.toml"), text).unwrap();
        let error = fails(folder.path(), 1, &["train", "r.toml", "--out", "run"]);
        assert!(
            error.contains("r.toml") && error.contains(key),
            "{key} is not named in {error}"
        );
    }
    let error = fails(folder.path(), 1, &["train", "missing.toml"]);
    assert!(
        error.contains("missing.toml") && error.contains("check the path"),
        "{error}"
    );
    std::fs::write(folder.path().join("r.toml"), good).unwrap();
    let error = fails(folder.path(), 1, &["train", "r.toml", "--data", "mnits"]);
    assert!(error.contains("mnits"), "{error}");
    assert!(fails(folder.path(), 2, &["train", "r.toml", "--name", "a/b"]).contains("--name"));
    let error = fails(folder.path(), 2, &["train", "r.toml", "--threads", "1025"]);
    assert!(
        error.contains("--threads") && error.contains("1024"),
        "{error}"
    );
}

#[test]
fn a_finished_run_is_not_overwritten_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), tiny_recipe("t", 1)).unwrap();
    ok(folder.path(), &["train", "r.toml", "--threads", "1"]);
    let before = std::fs::read(folder.path().join("runs/t/t.bnn")).unwrap();
    let error = fails(folder.path(), 2, &["train", "r.toml"]);
    assert!(
        error.contains("--resume") && error.contains("--overwrite"),
        "{error}"
    );
    ok(
        folder.path(),
        &["train", "r.toml", "--resume", "--threads", "1"],
    );
    assert_eq!(
        std::fs::read(folder.path().join("runs/t/t.bnn")).unwrap(),
        before
    );
    ok(
        folder.path(),
        &["train", "r.toml", "--overwrite", "--threads", "1"],
    );
    let wider = tiny_recipe("t", 1).replace("[48]", "[47]");
    std::fs::write(folder.path().join("r.toml"), wider).unwrap();
    let error = fails(folder.path(), 1, &["train", "r.toml", "--resume"]);
    assert!(
        error.contains("another recipe") && error.contains("`model.hidden.0` was 48 and is 47"),
        "{error}"
    );
    // More epochs than there were is what is still to come; the card says so.
    std::fs::write(folder.path().join("r.toml"), tiny_recipe("t", 2)).unwrap();
    let words = ["train", "r.toml", "--resume", "--threads", "1"];
    ok(folder.path(), &words);
    let card = std::fs::read_to_string(folder.path().join("runs/t/t.md")).unwrap();
    assert!(card.contains("`stage.0.epochs` was 1 and is 2"), "{card}");
}

#[test]
fn a_full_disk_is_one_error_and_leaves_no_broken_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), tiny_recipe("t", 2)).unwrap();
    // A limit on file sizes fails a write as a full disk does, without needing one.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" train r.toml --out run --threads 1";
    let binary = env!("CARGO_BIN_EXE_onebit");
    let ran = ran(Command::new("sh")
        .args(["-c", script, binary])
        .current_dir(folder.path()));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("File too large") && ran.stderr.contains("run/"),
        "{}",
        ran.stderr
    );
    for entry in std::fs::read_dir(folder.path().join("run")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            !name.ends_with(".tmp") && !name.ends_with(".ckpt") && !name.ends_with(".bnn"),
            "{name} was left behind"
        );
    }
}
