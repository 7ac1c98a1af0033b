//! A copy of the workspace in which faults are applied, built and checked.
//!
//! The copy shares the target directories of the workspace, and thereby the compiled dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table::Fault;
use crate::workspace::{self, Workspace, tracked};

/// The time in seconds after which a check counts as hanging.
const TIME_LIMIT: &str = "60";

pub(super) struct Sandbox {
    copy: PathBuf,
    target: PathBuf,
}

/// An executable that cargo built, and the folder of its package.
pub(super) struct Program {
    pub(super) path: PathBuf,
    folder: PathBuf,
}

impl Sandbox {
    /// Copies the files of the working tree that git does not ignore.
    pub(super) fn prepare(workspace: &Workspace) -> Result<Sandbox> {
        let target = workspace.target().to_owned();
        let copy = target.join("sandbox");
        let names = tracked(workspace.root())?;
        for name in &names {
            let text = fs::read(workspace.root().join(name))?;
            write_changed(&copy.join(name), &text)?;
        }
        remove_others(&copy, &names.iter().map(|name| copy.join(name)).collect())?;
        Ok(Sandbox { copy, target })
    }

    /// Applies the fault, runs the check, and restores the file.
    pub(super) fn with_fault<T>(
        &self,
        fault: &Fault,
        check: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.copy.join(&fault.file);
        let source = fs::read_to_string(&path)?;
        fs::write(&path, fault.apply(&source)?)?;
        let result = check();
        fs::write(&path, source)?;
        result
    }

    /// Restricts the integration tests of a package to the modules that the filters name, which
    /// saves most of the build time. An empty list restores all modules.
    pub(super) fn narrow_tests(&self, package: &str, filters: &[String]) -> Result<()> {
        let folder = self.copy.join(package.trim_start_matches("matou-")).join("tests/it");
        let (main, all) = (folder.join("main.rs"), folder.join("all.rs"));
        if !all.exists() {
            fs::copy(&main, &all).with_context(|| main.display().to_string())?;
        }
        write_changed(&main, only_modules_of(&fs::read_to_string(all)?, filters).as_bytes())
    }

    /// A cargo command in the copy, from words separated by spaces.
    pub(super) fn cargo(&self, words: &str) -> Command {
        let mut command = workspace::cargo();
        command.args(words.split_whitespace()).current_dir(&self.copy);
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// The target directory of the builds for a model checker.
    pub(super) fn target_of(&self, checker: &str) -> PathBuf {
        self.target.join(checker)
    }

    /// Runs a cargo command that builds one program.
    pub(super) fn build(&self, mut command: Command) -> Result<Program> {
        command.args(["--message-format", "json-render-diagnostics"]);
        let output = command.output().context("failed to run cargo")?;
        if !output.status.success() {
            bail!("the edited copy does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().find_map(Program::parse).context("cargo reported no executable")
    }
}

impl Program {
    fn parse(line: &str) -> Option<Program> {
        let message: Value = serde_json::from_str(line).ok()?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let path = message["executable"].as_str()?.into();
        Some(Program { path, folder: manifest.with_file_name("") })
    }

    /// A command that runs the program and kills it, and its children, at the time limit.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", TIME_LIMIT]).arg(&self.path).current_dir(&self.folder);
        command.stdin(Stdio::null()).stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
        command
    }
}

/// Removes the `mod` lines of modules that no filter names, except the shared helpers.
fn only_modules_of(main: &str, filters: &[String]) -> String {
    let is_kept = |line: &&str| {
        let module = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        let is_named = |module: &str| {
            let prefixes = filters.iter().filter_map(|filter| filter.split("::").next());
            module == "support" || prefixes.into_iter().any(|prefix| module.starts_with(prefix))
        };
        filters.is_empty() || module.is_none_or(is_named)
    };
    main.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

/// Writes a file unless it has this text: an unchanged file keeps its modification time, so that
/// cargo does not rebuild it.
fn write_changed(path: &Path, text: &[u8]) -> Result<()> {
    if fs::read(path).ok().as_deref() != Some(text) {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Removes the files of an earlier copy, which cargo might take for modules or tests.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_modules_that_a_filter_names_are_kept() {
        let main = "//! Docs.\n\nmod r01_a;\nmod r02_b;\nmod r02_c;\nmod support;\n";
        let narrowed = only_modules_of(main, &["r02_b::a_test".into(), "r01_".into()]);
        assert_eq!(narrowed, "//! Docs.\n\nmod r01_a;\nmod r02_b;\nmod support;\n");
        assert_eq!(only_modules_of(main, &[]), main);
    }
}
