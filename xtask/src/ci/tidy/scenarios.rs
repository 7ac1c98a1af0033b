//! The tests that `docs/scenarios.md` lists exist, and tests with a scenario's code are listed.
//!
//! A row of a table begins with the code of a scenario, such as `| T1 |`. Its last cell lists the
//! tests in the form `` `t1_` in `runtime/tests` ``, with one or more folders.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use regex::Regex;

use super::File;

const DOCUMENT: &str = "docs/scenarios.md";

/// The folders whose functions are searched for codes.
const TESTED: [&str; 5] = ["ownership/", "sync/", "runtime/", "net/", "echo/"];

pub(super) fn problems(files: &[File]) -> Result<Vec<String>> {
    let document = files.iter().find(|file| file.name == DOCUMENT);
    let document = &document.with_context(|| format!("{DOCUMENT} is missing"))?.text;
    let mention = Regex::new(r"`([a-z]\d+_\w*)` in ((?:(?:, )?`[\w/]+`)+)")?;
    let test = Regex::new(r"fn (([a-z]\d+_)\w+)\(")?;
    // For each test its file, its name, and the code in the name.
    let tests: Vec<(&str, &str, &str)> = files
        .iter()
        .filter(|file| TESTED.iter().any(|folder| file.name.starts_with(folder)))
        .flat_map(|file| {
            let found = test.captures_iter(&file.text).map(|found| found.extract::<2>().1);
            found.map(|[name, prefix]| (file.name.as_str(), name, prefix))
        })
        .collect();
    let mut problems = Vec::new();
    let mut listed = BTreeSet::new();
    for found in mention.captures_iter(document) {
        let [prefix, folders] = found.extract().1;
        for folder in folders.split('`').filter(|text| text.contains('/')) {
            listed.insert((prefix, folder));
            let is_there = |(file, name, _): &(&str, &str, &str)| {
                file.starts_with(folder) && name.starts_with(prefix)
            };
            if !tests.iter().any(is_there) {
                problems.push(format!("{DOCUMENT}: no test `{prefix}..` in {folder}"));
            }
        }
    }
    let unlisted = tests.iter().filter(|(file, _, prefix)| {
        let is_listed = |(code, folder): &(&str, &str)| code == prefix && file.starts_with(folder);
        // `r01_` belongs to a rule.
        !is_rule(prefix) && !listed.iter().any(is_listed)
    });
    problems.extend(unlisted.map(|(file, name, _)| {
        format!("{file}: `{name}` has the code of a scenario that {DOCUMENT} does not list there")
    }));
    Ok(problems)
}

/// Whether a prefix such as `r01_` belongs to a rule instead of a scenario.
fn is_rule(prefix: &str) -> bool {
    prefix.starts_with('r') && prefix.len() == 4 && prefix <= "r14_"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_tests_exist_and_tests_with_codes_are_listed() {
        let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
        let document = "| `t1_` in `runtime/tests`, `net/tests` |\n| `t2_` in `net/tests` |";
        let problems = problems(&[
            file(DOCUMENT, document),
            file("runtime/tests/it/a.rs", "fn t1_a() {}\nfn r01_b() {}\nfn t9_c() {}"),
            file("net/tests/it/a.rs", "fn t1_a() {}"),
        ]);
        let expected = [
            "docs/scenarios.md: no test `t2_..` in net/tests",
            "runtime/tests/it/a.rs: `t9_c` has the code of a scenario that docs/scenarios.md does \
             not list there",
        ];
        assert_eq!(problems.expect("it reads"), expected);
    }
}
