//! The workspace as described by `cargo metadata`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The workspace as `cargo metadata` reports it.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) is_published: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether only tests, examples and benches use it.
    pub(crate) is_dev: bool,
}

impl Workspace {
    pub(crate) fn load() -> Result<Workspace> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("failed to run cargo")?;
        ensure!(output.status.success(), "cargo metadata ended with {}", output.status);
        Workspace::parse(&serde_json::from_slice(&output.stdout)?)
            .context("cargo metadata has an unknown form")
    }

    fn parse(metadata: &Value) -> Option<Workspace> {
        let packages =
            metadata["packages"].as_array()?.iter().map(parse_package).collect::<Option<_>>()?;
        Some(Workspace {
            root: metadata["workspace_root"].as_str()?.into(),
            target: metadata["target_directory"].as_str()?.into(),
            packages,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The target directory of ordinary builds. Special builds have one of their own below it.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The names of the packages that have integration tests in a file of this name.
    pub(crate) fn packages_with_test(&self, test: &str) -> impl Iterator<Item = &str> {
        let file = format!("tests/{test}.rs");
        let has_file = move |package: &&Package| package.folder.join(&file).exists();
        self.packages.iter().filter(has_file).map(|package| package.name.as_str())
    }
}

/// The files of a checkout that git does not ignore, relative to its root.
pub(crate) fn tracked(root: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = command.current_dir(root).output().context("failed to run git")?;
    ensure!(output.status.success(), "git ls-files ended with {}", output.status);
    let names = String::from_utf8(output.stdout).context("the name of a file is not UTF-8")?;
    let names = names.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file());
    Ok(names.map(str::to_owned).collect())
}

/// The cargo that started this program, or the one on the path.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn parse_package(package: &Value) -> Option<Package> {
    let dependencies = package["dependencies"].as_array()?.iter().map(|dependency| {
        Some(Dependency {
            name: dependency["name"].as_str()?.to_string(),
            is_dev: dependency["kind"] == "dev",
        })
    });
    Some(Package {
        name: package["name"].as_str()?.to_string(),
        folder: Path::new(package["manifest_path"].as_str()?).with_file_name(""),
        dependencies: dependencies.collect::<Option<_>>()?,
        is_published: package["publish"].is_null(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_read_with_the_kinds_of_dependencies() {
        let metadata = json!({
            "workspace_root": "/w",
            "target_directory": "/w/target",
            "packages": [{ "name": "a", "manifest_path": "/w/a/Cargo.toml", "dependencies": [
                { "name": "b", "kind": null }, { "name": "c", "kind": "dev" }
            ]}],
        });
        let workspace = Workspace::parse(&metadata).expect("it is metadata");
        let package = &workspace.packages()[0];
        let kinds: Vec<(&str, bool)> =
            package.dependencies.iter().map(|d| (d.name.as_str(), d.is_dev)).collect();
        assert_eq!(kinds, [("b", false), ("c", true)]);
        assert!(Workspace::parse(&json!({})).is_none());
    }
}
