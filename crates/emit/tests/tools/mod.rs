//! The tools that emitted files are compiled and run with: found, or the reason of a skip.

use std::process::{Command, Stdio};

/// Whether a tool answers; else the test is skipped, which continuous integration counts as a failure.
pub fn has_tool(tool: &str, package: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        skip(&format!(
            "{tool} is missing; install with `apt-get install {package}`"
        ));
    }
    found
}

/// Says why a test is skipped.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "continuous integration needs what this test does: {reason}"
    );
    println!("skipped: {reason}");
}

/// Runs a command and fails with what it says; its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("the tool was found before");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}
