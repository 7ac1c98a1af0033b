//! The tests and test modules that documents name exist.
//!
//! In `SECURITY.md` each name in the last cell of a row is a test; in `docs/ecosystem.md` it is a
//! module of the tests in `ecosystem/`.

use std::collections::BTreeSet;

use anyhow::Result;
use regex::Regex;

use super::File;

pub(super) fn problems(files: &[File]) -> Result<Vec<String>> {
    let function = Regex::new(r"\bfn (\w+)\(")?;
    let tests: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.name.ends_with(".rs"))
        .flat_map(|file| function.captures_iter(&file.text))
        .map(|found| found.extract::<1>().1[0])
        .collect();
    let modules: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.name.strip_prefix("ecosystem/tests/it/"))
        .map(|path| path.split(['/', '.']).next().unwrap_or(path))
        .collect();
    let mut problems = missing(files, "SECURITY.md", &tests)?;
    problems.extend(missing(files, "docs/ecosystem.md", &modules)?);
    Ok(problems)
}

/// Returns the names in the last cells of a document's tables that are not `known`.
fn missing(files: &[File], document: &str, known: &BTreeSet<&str>) -> Result<Vec<String>> {
    let name = Regex::new(r"`([a-z]\w*_\w+)`")?;
    let Some(file) = files.iter().find(|file| file.name == document) else {
        return Ok(vec![format!("{document} is missing")]);
    };
    let rows = file.text.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end().trim_end_matches('|').rsplit('|').next());
    let names = cells.flat_map(|cell| name.captures_iter(cell));
    let unknown = names.map(|found| found.extract::<1>().1[0]).filter(|name| !known.contains(name));
    Ok(unknown.map(|name| format!("{document}: no test `{name}`")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_test_is_a_problem() {
        let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
        let files = [
            file("SECURITY.md", "| `not_a_test` | it is `a_test` |\n| x | `no_test`, `b_test` |\n"),
            file("docs/ecosystem.md", "| x | `a_module` |\n| x | `no_module` |\n"),
            file("a.rs", "fn a_test() {}\nasync fn b_test() {}"),
            file("ecosystem/tests/it/a_module/mod.rs", ""),
        ];
        let expected = ["SECURITY.md: no test `no_test`", "docs/ecosystem.md: no test `no_module`"];
        assert_eq!(problems(&files).unwrap(), expected);
    }
}
