//! Each limit in the tables of `SECURITY.md` names a test that exists.

use anyhow::{Context, Result};
use regex::Regex;

use super::File;

const DOCUMENT: &str = "SECURITY.md";

pub(super) fn problems(files: &[File]) -> Result<Vec<String>> {
    let document = files.iter().find(|file| file.name == DOCUMENT);
    let document = &document.with_context(|| format!("{DOCUMENT} is missing"))?.text;
    let mention = Regex::new(r"`(\w+)` in `([\w/]+)` \|$")?;
    let is_row = |line: &&str| {
        line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| cost |")
    };
    let mut problems = Vec::new();
    for row in document.lines().filter(is_row) {
        let Some(found) = mention.captures(row) else {
            problems.push(format!("{DOCUMENT}: no test is named in `{row}`"));
            continue;
        };
        let [name, folder] = found.extract().1;
        let test = format!("fn {name}()");
        let has_test =
            |file: &File| file.name.starts_with(&format!("{folder}/")) && file.text.contains(&test);
        if !files.iter().any(has_test) {
            problems.push(format!("{DOCUMENT}: no test `{name}` in {folder}"));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_names_a_test_that_exists() {
        let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
        let document = "| cost | test |\n| --- | --- |\n| a | `good` in `http/tests` |\n\
                        | b | `bad` in `http/tests` |\n| c | none |";
        let problems =
            problems(&[file(DOCUMENT, document), file("http/tests/it/a.rs", "fn good() {}")]);
        let expected = [
            "SECURITY.md: no test `bad` in http/tests",
            "SECURITY.md: no test is named in `| c | none |`",
        ];
        assert_eq!(problems.expect("it reads"), expected);
    }
}
