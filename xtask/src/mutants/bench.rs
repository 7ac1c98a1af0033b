//! Where mutants are built and tried: a copy of the tracked files, with a target directory of its
//! own.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::table::Mutant;
use crate::workspace::{self, Workspace};

/// After this time a test counts as hanging; told to the tests through the environment.
const TEST_SECONDS: &str = "3";

/// How many tests run at a time. More than there are cores, since those that hang only wait.
const TEST_THREADS: &str = "8";

/// After this time all tests of a mutant together count as hanging.
const TESTS_MAX: Duration = Duration::from_secs(60);

/// The module of the tests that all the others use.
const DOUBLES: &str = "support";

/// A copy of the workspace in which sources may be edited.
pub(super) struct Bench {
    copy: PathBuf,
    target: PathBuf,
}

/// What became of a mutant.
#[derive(Debug)]
pub(super) enum Verdict {
    /// These tests failed.
    Failed(Vec<String>),
    /// The tests ended like this, without saying which one failed.
    Crashed(ExitStatus),
    Hung,
    Survived,
}

/// The test binary of a package.
struct Binary {
    path: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// Copies the tracked files, as they are in the working tree.
    pub(super) fn prepare(workspace: &Workspace) -> Result<Bench> {
        let folder = workspace.target().join("mutants");
        let bench = Bench { copy: folder.join("work"), target: folder.join("build") };
        let tracked = tracked(workspace.root())?;
        for name in &tracked {
            // A file that is unchanged keeps its time, so that cargo does not build it anew.
            let text = fs::read(workspace.root().join(name))?;
            let path = bench.copy.join(name);
            if fs::read(&path).ok().as_ref() != Some(&text) {
                fs::create_dir_all(path.parent().unwrap_or(&bench.copy))?;
                fs::write(&path, text).with_context(|| path.display().to_string())?;
            }
        }
        remove_others(&bench.copy, &bench.copy, &tracked)?;
        Ok(bench)
    }

    /// Checks that the tests pass as they are, and that each filter names some.
    pub(super) fn check_unchanged(&self, package: &str, filters: &[&str]) -> Result<()> {
        self.narrow(package, filters)?;
        let binary = self.build(package)?.map_err(anyhow::Error::msg)?;
        for filter in filters {
            let output = binary.command(&[filter]).arg("--list").output()?;
            let names_tests = String::from_utf8_lossy(&output.stdout).contains(": test");
            ensure!(names_tests, "the filter {filter} names no test of {package}");
        }
        match binary.run(filters)? {
            Verdict::Survived => Ok(()),
            verdict => bail!("without any edit, the tests of {package} are {verdict}"),
        }
    }

    /// Applies the mutant, builds and runs the tests, and takes the edit back.
    pub(super) fn judge(&self, mutant: &Mutant) -> Result<Verdict> {
        let path = self.copy.join(&mutant.file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, mutant.apply(&text)?)?;
        self.narrow(&mutant.package, &[&mutant.test])?;
        let built = self.build(&mutant.package);
        let verdict = built.and_then(|built| match built {
            Ok(binary) => binary.run(&[&mutant.test]),
            Err(error) => bail!("{} ({}) does not compile:\n{error}", mutant.rule, mutant.why),
        });
        fs::write(&path, text)?;
        verdict
    }

    /// Leaves only those modules in the tests of a package that the filters name, and the doubles
    /// that they share: most of the time would go into the others.
    fn narrow(&self, package: &str, filters: &[&str]) -> Result<()> {
        let folder = package.trim_start_matches("matou-");
        let path = self.copy.join(folder).join("tests/it/main.rs");
        let all = self.copy.join(folder).join("tests/it/all.rs");
        if !all.exists() {
            fs::copy(&path, &all).with_context(|| path.display().to_string())?;
        }
        let narrowed = only_modules_of(&fs::read_to_string(all)?, filters);
        if fs::read_to_string(&path)? != narrowed {
            fs::write(path, narrowed)?;
        }
        Ok(())
    }

    /// Builds the test binary of a package, or tells what the compiler says.
    fn build(&self, package: &str) -> Result<Result<Binary, String>> {
        let mut command = workspace::cargo();
        command
            .args(["test", "--no-run", "--test", "it", "--package", package])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody looks at these programs with a debugger, and they link faster without.
            .env("CARGO_PROFILE_DEV_DEBUG", "0");
        let output = command.output().context("failed to run cargo")?;
        if !output.status.success() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let binary = text.lines().find_map(Binary::parse);
        Ok(Ok(binary.with_context(|| format!("cargo told no path of the tests of {package}"))?))
    }
}

impl Binary {
    /// Reads the line in which cargo tells of the test binary.
    fn parse(line: &str) -> Option<Binary> {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        (message["target"]["name"] == "it")
            .then(|| Binary { path: path.into(), folder: manifest.with_file_name("") })
    }

    fn command(&self, filters: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(filters)
            .current_dir(&self.folder)
            .env("MATOU_TEST_SECONDS", TEST_SECONDS)
            .env("RUST_BACKTRACE", "0")
            .env("RUST_TEST_THREADS", TEST_THREADS)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    /// Runs the tests, for a bounded time.
    fn run(&self, filters: &[&str]) -> Result<Verdict> {
        // In a group of its own, so that what the tests start ends with them.
        let mut child = self.command(filters).process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        let mut stdout = child.stdout.take().context("the tests have no standard output")?;
        let (sender, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        });
        let output = receiver.recv_timeout(TESTS_MAX);
        if output.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        drop(reader.join());
        Ok(match output {
            Ok(text) => Verdict::of(&text, status),
            Err(_) => Verdict::Hung,
        })
    }
}

impl Verdict {
    /// Reads lines of the form `test NAME ... FAILED`.
    fn of(output: &str, status: ExitStatus) -> Verdict {
        if status.success() {
            return Verdict::Survived;
        }
        let failed = |line: &str| {
            let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
            Some(name.rsplit("::").next().unwrap_or(name).to_owned())
        };
        let failed: Vec<String> = output.lines().filter_map(failed).collect();
        if failed.is_empty() { Verdict::Crashed(status) } else { Verdict::Failed(failed) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Failed(tests) => {
                write!(f, "killed by {}", tests[0])?;
                match tests.len() - 1 {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Verdict::Crashed(status) => match status.signal() {
                Some(signal) => write!(f, "killed: the tests died of signal {signal}"),
                None => write!(f, "killed: the tests ended with {status}"),
            },
            Verdict::Hung => f.write_str("killed: the tests hang"),
            Verdict::Survived => f.write_str("SURVIVED"),
        }
    }
}

/// Drops the modules that no filter names.
fn only_modules_of(main: &str, filters: &[&str]) -> String {
    let is_kept = |line: &&str| {
        let module = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        module.is_none_or(|module| {
            let is_named = |filter: &&str| {
                filter.split("::").next().is_some_and(|prefix| module.starts_with(prefix))
            };
            module == DOUBLES || filters.iter().any(is_named)
        })
    };
    main.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

/// The files that git knows and that are there.
fn tracked(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let output = output.context("failed to run git")?;
    ensure!(output.status.success(), "git ls-files ended with {}", output.status);
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let names = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(names.filter(|name| root.join(name).is_file()).collect())
}

/// Removes what an earlier copy had and this one has not.
fn remove_others(root: &Path, folder: &Path, tracked: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, tracked)?;
        } else if !path.strip_prefix(root).is_ok_and(|name| tracked.contains(name)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_failed_tests_is_named() {
        let output = "test r01::a ... ok\ntest r01::b ... FAILED\ntest r02::c ... FAILED\n";
        let verdict = Verdict::of(output, ExitStatus::from_raw(101 << 8));
        assert_eq!(verdict.to_string(), "killed by b and 1 more");
        let crashed = Verdict::of("test r01::a ...", ExitStatus::from_raw(6));
        assert_eq!(crashed.to_string(), "killed: the tests died of signal 6");
        assert!(matches!(Verdict::of(output, ExitStatus::from_raw(0)), Verdict::Survived));
    }

    #[test]
    fn only_the_modules_that_a_filter_names_are_kept() {
        let main = "//! Docs.\n\nmod r01_a;\nmod r02_b;\nmod r02_c;\nmod support;\n";
        let narrowed = only_modules_of(main, &["r02_b::it_is_so", "r01_"]);
        assert_eq!(narrowed, "//! Docs.\n\nmod r01_a;\nmod r02_b;\nmod support;\n");
    }

    #[test]
    fn what_an_earlier_copy_left_is_removed() {
        let folder = std::env::temp_dir().join(format!("matou-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).expect("a folder");
        for name in ["a/kept", "a/stale", "stale"] {
            fs::write(folder.join(name), name).expect("a file");
        }
        let tracked = BTreeSet::from(["a/kept".into()]);
        remove_others(&folder, &folder, &tracked).expect("it may");
        assert!(folder.join("a/kept").exists());
        assert!(!folder.join("a/stale").exists() && !folder.join("stale").exists());
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
