//! Shows that each library crate works alone.
//!
//! `xtask/alone/CRATE` is a package outside the workspace that depends on nothing else of it. Its
//! program uses the crate as a stranger would, and its library's only documentation is the README
//! of the crate, so that the doc test is the README's example.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::runner::Runner;

pub(super) fn run(runner: &mut Runner) -> Result<()> {
    let packages = packages(runner)?;
    ensure!(!packages.is_empty(), "there is no package in xtask/alone");
    for package in packages {
        let manifest = package.join("Cargo.toml");
        ensure_alone(&fs::read_to_string(&manifest)?)
            .with_context(|| manifest.display().to_string())?;
        for words in ["run --quiet", "test --doc"] {
            let mut command = runner.cargo(words);
            command.current_dir(&package);
            runner.run(command.env("CARGO_TARGET_DIR", runner.target_below("alone")))?;
        }
    }
    Ok(())
}

fn packages(runner: &Runner) -> Result<Vec<PathBuf>> {
    let folder = runner.workspace.root().join("xtask/alone");
    let mut packages = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.join("Cargo.toml").exists() {
            packages.push(path);
        }
    }
    packages.sort();
    Ok(packages)
}

/// Checks that a manifest names one crate of the workspace and is a workspace of its own.
fn ensure_alone(manifest: &str) -> Result<()> {
    let ours = manifest.lines().filter(|line| line.starts_with("matou-")).count();
    ensure!(ours == 1, "it depends on {ours} crates of the workspace, not on one");
    ensure!(manifest.lines().any(|line| line.trim() == "[workspace]"), "it has no [workspace]");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_with_one_crate_of_ours_stands_alone() {
        let manifest =
            "[workspace]\n[dependencies]\nmatou-sync = { path = \"x\" }\nfutures = \"0\"\n";
        assert!(ensure_alone(manifest).is_ok());
        assert!(ensure_alone(&format!("{manifest}matou-net = \"1\"\n")).is_err());
        assert!(ensure_alone(&manifest.replace("[workspace]", "")).is_err());
    }
}
