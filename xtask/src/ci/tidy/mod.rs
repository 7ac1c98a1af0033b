//! Rules of this repository that no other tool checks.

mod language;
mod layers;
mod modules;
mod scenarios;
mod security;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::mutants::table;
use crate::workspace::{Workspace, tracked};

const LINE_CHARS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 600;

/// Unfinished code, and tests that do not run. In pieces, so that this file may contain them.
const LEFTOVERS: [&str; 4] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[ign", "ore"),
];

/// A file of the checkout.
pub(super) struct File {
    /// The path, relative to the root.
    pub(super) name: String,
    pub(super) text: String,
}

/// Prints the measures and returns all problems.
pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let files = read(workspace.root())?;
    let mut problems: Vec<String> = files.iter().flat_map(problems_of).collect();
    if !files.iter().any(|file| file.name == "CHANGELOG.md") {
        problems.push("CHANGELOG.md is missing".to_owned());
    }
    problems.extend(table::problems(workspace.root())?);
    problems.extend(layers::problems(workspace.packages()));
    problems.extend(language::problems(&files)?);
    problems.extend(modules::problems(&files)?);
    problems.extend(scenarios::problems(&files)?);
    problems.extend(security::problems(&files)?);
    Ok(problems)
}

/// The Rust and Markdown files that git does not ignore.
fn read(root: &Path) -> Result<Vec<File>> {
    let names = tracked(root)?.into_iter();
    let texts = names.filter(|name| name.ends_with(".rs") || name.ends_with(".md"));
    let read = |name: String| {
        let text = fs::read_to_string(root.join(&name)).with_context(|| name.clone())?;
        Ok(File { name, text })
    };
    texts.map(read).collect()
}

fn problems_of(file: &File) -> Vec<String> {
    let File { name, text } = file;
    let mut problems = Vec::new();
    if !name.ends_with(".rs") {
        return problems;
    }
    for (line, number) in text.lines().zip(1..) {
        let width = line.chars().count();
        if width > LINE_CHARS_MAX {
            problems.push(format!(
                "{name}:{number}: {width} characters wide, at most {LINE_CHARS_MAX} are allowed"
            ));
        }
        let is_comment = line.trim_start().starts_with("//");
        for leftover in LEFTOVERS.iter().filter(|word| !is_comment && line.contains(**word)) {
            problems.push(format!("{name}:{number}: `{leftover}` must not remain in the sources"));
        }
    }
    let is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
    let lines = text.lines().count();
    if !is_test && lines > FILE_LINES_MAX {
        problems.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX} are allowed"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_lines_long_files_and_leftovers_are_problems() {
        let check = |name: &str, text: &str| {
            problems_of(&File { name: name.to_owned(), text: text.to_owned() })
        };
        let wide = format!("// {}\n", "x".repeat(98));
        assert_eq!(check("b.rs", &wide), ["b.rs:1: 101 characters wide, at most 100 are allowed"]);
        assert!(check("b.md", &wide).is_empty());
        assert_eq!(
            check("a/src/b.rs", &"\n".repeat(601)),
            ["a/src/b.rs: 601 lines, at most 600 are allowed"]
        );
        assert!(check("a/tests/b.rs", &"\n".repeat(601)).is_empty());
        assert_eq!(check("b.rs", &format!("    {})\n", LEFTOVERS[0])).len(), 1);
        assert!(check("b.rs", &format!("// {})\n", LEFTOVERS[0])).is_empty());
    }
}
