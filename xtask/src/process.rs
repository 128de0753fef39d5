//! Running other programs.
//!
//! Every command is echoed before it starts, so that a reader of a log can repeat it by hand.
//! A program that is missing and a program that fails are different errors.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that runs this program, working in the checkout.
pub fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root);
    command
}

/// Where cargo puts what it builds for this checkout.
pub fn target_dir(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    }
}

/// Prints the command as a person would type it, with the program's name for its path.
pub fn echo(command: &Command) {
    println!("$ {}", shown(command));
}

/// Runs the command with its output on this terminal; anything but exit code 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    echo(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs the command quietly and returns its standard output; the error carries what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            shown(command),
            output.status,
            said.trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed bytes that are not UTF-8", shown(command)))
}

/// Whether a program of this name stands in a folder of `PATH`.
pub fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn shown(command: &Command) -> String {
    let settings = command.get_envs().filter_map(|(key, value)| {
        Some(format!(
            "{}={}",
            key.to_string_lossy(),
            value?.to_string_lossy()
        ))
    });
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = std::iter::once(name)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy);
    settings
        .chain(words.map(String::from))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["test", "--workspace"])
            .env("BLESS", "1")
            .env_remove("CI");
        assert_eq!(shown(&command), "BLESS=1 cargo test --workspace");
    }

    #[test]
    fn a_failing_command_says_what_it_printed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let message = output(&mut command).map_err(|error| error.to_string());
        assert!(message.is_err_and(|text| text.contains("no such thing") && text.contains('3')));
    }

    #[test]
    fn a_missing_program_is_named() {
        let message = run(&mut Command::new("onebit-no-such-program"));
        assert!(message.is_err_and(|error| error.to_string().contains("cannot start")));
        assert!(!is_on_path("onebit-no-such-program"));
    }
}
