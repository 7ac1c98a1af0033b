//! A copy of the workspace in which the faults are switched in, built and checked.
//!
//! The copy shares the target directories of the workspace, and thereby the compiled dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::build::{Build, Key};
use super::check::model_environment;
use super::switch;
use super::table::Fault;
use crate::workspace::{self, Workspace, tracked};

/// The time in seconds after which a check is killed that uses little CPU but does not end.
const TIME_LIMIT: &str = "300";

pub(super) struct Sandbox {
    copy: PathBuf,
    target: PathBuf,
    /// The edited files without their edits, by their names in the workspace.
    sources: BTreeMap<String, String>,
    /// The faults that are switched in.
    faults: Vec<Fault>,
    /// The errors of the compiler for those that are not.
    broken: BTreeMap<String, String>,
}

/// An executable that cargo built, and the folder of its package.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) key: Key,
    checker: Option<String>,
    path: PathBuf,
    folder: PathBuf,
}

impl Sandbox {
    /// Copies the files of the working tree that git does not ignore, with switches for the faults,
    /// into a folder of this name below the target directory.
    pub(super) fn prepare(workspace: &Workspace, name: &str, faults: &[Fault]) -> Result<Sandbox> {
        let target = workspace.target().to_owned();
        let copy = target.join(name);
        let edited: BTreeSet<&String> = faults.iter().map(|fault| &fault.file).collect();
        let names = tracked(workspace.root())?;
        let mut sources = BTreeMap::new();
        for name in &names {
            let text = fs::read(workspace.root().join(name))?;
            if edited.contains(name) {
                sources.insert(name.clone(), String::from_utf8(text)?);
            } else if name.ends_with("Cargo.toml") {
                let manifest = with_own_version(std::str::from_utf8(&text)?);
                write_changed(&copy.join(name), manifest.as_bytes())?;
            } else {
                write_changed(&copy.join(name), &text)?;
            }
        }
        remove_others(&copy, &names.iter().map(|name| copy.join(name)).collect())?;
        let (faults, broken) = (faults.to_vec(), BTreeMap::new());
        let sandbox = Sandbox { copy, target, sources, faults, broken };
        sandbox.write_switches()?;
        Ok(sandbox)
    }

    fn write_switches(&self) -> Result<()> {
        for (name, source) in &self.sources {
            let faults = self.faults.iter().filter(|fault| fault.file == *name);
            let switched = switch::with_switches(source, faults).with_context(|| name.clone())?;
            write_changed(&self.copy.join(name), switched.as_bytes())?;
        }
        Ok(())
    }

    /// The compiler's error for the edit of this fault, if it does not compile.
    pub(super) fn error_of(&self, fault: &Fault) -> Option<&str> {
        self.broken.get(&fault.name).map(String::as_str)
    }

    /// Builds programs, with the environment of their model checker if they are for one. Edits
    /// that do not compile are removed and the rest is built.
    pub(super) fn build(&mut self, build: &Build) -> Result<Vec<Program>> {
        loop {
            let mut command = workspace::cargo();
            command.args(build.words.split(' ')).args(["--quiet", "--message-format", "json"]);
            command.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target);
            if let Some(checker) = &build.checker {
                command.envs(model_environment(checker, &self.target.join(checker)));
            }
            command.stderr(Stdio::inherit());
            let output = command.output().context("failed to run cargo")?;
            let text = String::from_utf8_lossy(&output.stdout);
            let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let messages: Vec<Value> = messages.collect();
            if output.status.success() {
                let built = messages.iter().filter_map(|it| Program::parse(it, build));
                // Tests of a package with a program are built beside that program.
                let programs = built.filter(|program| build.programs.contains(&program.key));
                let programs: Vec<Program> = programs.collect();
                ensure!(programs.len() == build.programs.len(), "cargo built only {programs:?}");
                return Ok(programs);
            }
            self.remove_broken(&messages)?;
        }
    }

    /// Removes the edits that the compiler's errors point to.
    fn remove_broken(&mut self, messages: &[Value]) -> Result<()> {
        let count = self.faults.len();
        let mut others = String::new();
        for message in messages.iter().map(|message| &message["message"]) {
            let Some(rendered) = message["rendered"].as_str() else { continue };
            if message["level"] != "error" {
                continue;
            }
            match self.fault_of(message)? {
                Some(name) => {
                    self.faults.retain(|fault| fault.name != name);
                    self.broken.entry(name).or_default().push_str(rendered);
                }
                None => others += rendered,
            }
        }
        ensure!(self.faults.len() < count, "the copy does not compile:\n{others}");
        self.write_switches()
    }

    /// The fault whose edited code an error of the compiler points to.
    fn fault_of(&self, error: &Value) -> Result<Option<String>> {
        for span in error["spans"].as_array().into_iter().flatten() {
            let (file, line) = (span["file_name"].as_str(), span["line_start"].as_u64());
            let (Some(file), Some(line)) = (file, line) else { continue };
            if self.sources.contains_key(file) {
                let switched = fs::read_to_string(self.copy.join(file))?;
                if let Some(name) = switch::fault_at(&switched, usize::try_from(line)?) {
                    return Ok(Some(name.to_owned()));
                }
            }
        }
        Ok(None)
    }
}

impl Program {
    fn parse(message: &Value, build: &Build) -> Option<Program> {
        let path = message["executable"].as_str()?.into();
        let manifest = Path::new(message["manifest_path"].as_str()?);
        // The identifier ends with `#NAME@VERSION`.
        let (package, _) = message["package_id"].as_str()?.rsplit_once('#')?.1.split_once('@')?;
        let target = message["target"]["name"].as_str()?.to_owned();
        let key = Key { package: package.to_owned(), target };
        let checker = build.checker.clone();
        Some(Program { key, checker, path, folder: manifest.with_file_name("") })
    }

    /// Returns `true` if a model checker runs the tests of the program.
    pub(super) fn is_model(&self) -> bool {
        self.checker.is_some()
    }

    /// A command that runs the program with the fault of this name, and kills it and its children
    /// at the time limit.
    pub(super) fn command(&self, fault: Option<&str>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", TIME_LIMIT]).arg(&self.path).current_dir(&self.folder);
        command.stdin(Stdio::null()).stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
        command.envs(fault.map(|name| (switch::VARIABLE, name)));
        command
    }
}

/// Adds build metadata to the version of a package. In the shared target directory cargo would
/// otherwise take the artifacts of the copy for those of the workspace.
fn with_own_version(manifest: &str) -> String {
    let line = |line: &str| match line.strip_prefix("version = \"") {
        Some(version) => format!("version = \"{}\n", version.replacen('"', "+faults\"", 1)),
        None => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
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
    fn only_the_version_of_a_package_is_changed() {
        let manifest = "version = \"1.0.0\"\nserde = { version = \"1.0\" }\n";
        let changed = "version = \"1.0.0+faults\"\nserde = { version = \"1.0\" }\n";
        assert_eq!(with_own_version(manifest), changed);
    }
}
