//! The table of mutants.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// An edit that takes away what upholds a rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Mutant {
    pub(super) rule: String,
    /// What the edit does, in words.
    pub(super) why: String,
    /// The package whose tests have to notice.
    pub(super) package: String,
    /// The file that is edited, from the workspace's root.
    pub(super) file: String,
    /// The text that is replaced. It occurs exactly once.
    pub(super) find: String,
    pub(super) replace: String,
    /// Which tests are run: those whose names hold this.
    pub(super) test: String,
}

impl Mutant {
    /// Edits the text of its file.
    pub(super) fn apply(&self, text: &str) -> Result<String> {
        let count = text.matches(&self.find).count();
        let Mutant { rule, why, file, .. } = self;
        ensure!(count == 1, "{rule} ({why}): its text occurs {count} times in {file}");
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

/// Reads the table, and checks that each edit can be made.
pub(super) fn read(root: &Path) -> Result<Vec<Mutant>> {
    let path = root.join("xtask/mutants.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows: Vec<Value> = serde_json::from_str(&text).context("mutants.json is no list")?;
    let mutants: Vec<Mutant> = rows.iter().map(parse).collect::<Result<_>>()?;
    let mut faults = Vec::new();
    for mutant in &mutants {
        let text = fs::read_to_string(root.join(&mutant.file)).context(mutant.file.clone())?;
        faults.extend(mutant.apply(&text).err().map(|error| error.to_string()));
    }
    ensure!(faults.is_empty(), "mutants.json does not fit the sources:\n{}", faults.join("\n"));
    Ok(mutants)
}

fn parse(row: &Value) -> Result<Mutant> {
    let field = |name: &str| {
        let value = row[name].as_str().map(str::to_owned);
        value.with_context(|| format!("a mutant has no text `{name}`: {row}"))
    };
    Ok(Mutant {
        rule: field("rule")?,
        why: field("why")?,
        package: field("package")?,
        file: field("file")?,
        find: field("find")?,
        replace: field("replace")?,
        test: field("test")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_edit_is_made_only_where_its_text_occurs_once() {
        let mutant = Mutant { find: "b".into(), replace: "x".into(), ..Mutant::default() };
        assert_eq!(mutant.apply("abc").expect("once"), "axc");
        assert!(mutant.apply("ac").is_err());
        assert!(mutant.apply("abcb").is_err());
    }

    #[test]
    fn a_row_without_a_field_is_an_error_that_names_it() {
        let error = parse(&json!({ "rule": "R1" })).expect_err("the rest is missing");
        assert!(error.to_string().contains("`why`"), "{error}");
    }
}
