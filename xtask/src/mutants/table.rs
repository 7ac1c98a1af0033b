//! The table of faults, `xtask/faults.toml`, and the markers in the sources that it refers to.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::edit::{self, At, Edit};
use crate::workspace::tracked;

/// The beginning of a marker comment. In pieces, so that this line is not a marker.
pub(super) const MARKER: &str = concat!("// ", "fault: ");

/// An edit that breaks the code behind a marker, and the checks that must notice it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) name: String,
    /// The effect of the edit.
    pub(crate) about: String,
    /// The rule of `docs/rules.md` that the edit breaks.
    #[serde(default)]
    pub(crate) rule: Option<String>,
    /// Part of the marked code that the edit applies to. The default is all of it.
    #[serde(default)]
    pub(crate) at: Option<At>,
    pub(crate) edit: Edit,
    /// Filters of the integration tests, some of which must fail.
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    /// The package of those tests.
    #[serde(default = "runtime")]
    pub(crate) package: String,
    /// A model that must fail.
    #[serde(default)]
    pub(crate) model: Option<Model>,
    /// Whether the explorer must find the fault.
    #[serde(default)]
    pub(crate) explorer: bool,
    /// The file that holds the marker, relative to the workspace.
    #[serde(skip)]
    pub(crate) file: String,
}

/// A test of a model checker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// The package, without the prefix `matou-`.
    pub(crate) library: String,
    /// `loom` or `shuttle`.
    pub(crate) checker: String,
    /// Filter of the model's tests.
    pub(crate) test: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fault: Vec<Fault>,
}

fn runtime() -> String {
    "matou-runtime".to_owned()
}

impl Fault {
    /// Returns the range of the function body that contains the marked code, and its edited text.
    pub(super) fn edited_body(&self, source: &str) -> Result<(Range<usize>, String)> {
        let offset = self.offset_of_code(source)?;
        edit::apply(source, offset, self.at, &self.edit)
            .with_context(|| format!("{}: the edit of `{}` does not apply", self.file, self.name))
    }

    fn offset_of_code(&self, source: &str) -> Result<usize> {
        let marker = format!("{MARKER}{}", self.name);
        let starts = source.match_indices('\n').map(|(at, _)| at + 1);
        let mut code = starts.map(|start| (start, source[start..].lines().next().unwrap_or("")));
        let marked = code.any(|(_, line)| line.trim() == marker);
        ensure!(marked, "{} has no marker `{marker}`", self.file);
        // Other markers and comments may stand between the marker and the code.
        let is_code = |line: &str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let (start, line) = code.find(|(_, line)| is_code(line)).context("no code follows")?;
        Ok(start + line.len() - line.trim_start().len())
    }
}

/// The table, compared with the markers in the sources.
struct Table {
    faults: Vec<Fault>,
    /// Why entries do not fit the sources.
    misfits: Vec<String>,
    /// Markers without an entry.
    unused: Vec<String>,
}

/// Reads the table and finds the marker of each fault. A marker may have no entry yet.
pub(super) fn read(root: &Path) -> Result<Vec<Fault>> {
    let Table { faults, misfits, .. } = compare(root)?;
    ensure!(misfits.is_empty(), "faults.toml does not fit the sources:\n{}", misfits.join("\n"));
    Ok(faults)
}

/// Lists each entry that does not fit the sources and each marker without an entry.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let Table { misfits, unused, .. } = compare(root)?;
    Ok([misfits, unused].concat())
}

fn compare(root: &Path) -> Result<Table> {
    let path = root.join("xtask/faults.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut faults = toml::from_str::<File>(&text).context("faults.toml")?.fault;
    let mut sources = BTreeMap::new();
    for name in tracked(root)?.into_iter().filter(|name| name.ends_with(".rs")) {
        let text = fs::read_to_string(root.join(&name)).with_context(|| name.clone())?;
        sources.insert(name, text);
    }
    let mut misfits = Vec::new();
    let mut markers = markers(&sources);
    for fault in &mut faults {
        match place(fault, markers.remove(&fault.name).unwrap_or_default()) {
            Ok(file) => fault.file = file,
            Err(error) => misfits.push(error.to_string()),
        }
        if let Some(source) = sources.get(&fault.file) {
            misfits.extend(fault.edited_body(source).err().map(|error| format!("{error:#}")));
        }
    }
    let no_entry = |(name, files): (String, Vec<String>)| {
        format!("{}: the fault `{name}` is not in faults.toml", files.join(", "))
    };
    let unused = markers.into_iter().map(no_entry).collect();
    Ok(Table { faults, misfits, unused })
}

/// Returns the file of a fault's marker. Each name has exactly one.
fn place(fault: &Fault, files: Vec<String>) -> Result<String> {
    let checks = !fault.tests.is_empty() || fault.model.is_some() || fault.explorer;
    ensure!(checks, "the fault `{}` names no check", fault.name);
    match <[String; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => bail!("the fault `{}` has {} markers", fault.name, files.len()),
    }
}

/// The files in which each marker occurs.
fn markers(sources: &BTreeMap<String, String>) -> BTreeMap<String, Vec<String>> {
    let mut markers = BTreeMap::<String, Vec<String>>::new();
    for (file, text) in sources {
        for name in text.lines().filter_map(|line| line.trim().strip_prefix(MARKER)) {
            markers.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    markers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(edit: Edit) -> Fault {
        let text = "name = 'a'\nabout = ''\nexplorer = true\nedit = { delete = 1 }";
        Fault { edit, ..toml::from_str(text).expect("a fault") }
    }

    #[test]
    fn the_edit_applies_to_the_code_behind_the_marker_and_its_comments() {
        let marker = format!("{MARKER}a");
        let source = format!("fn f() {{\n    {marker}\n    // Why.\n\n    g();\n    h();\n}}\n");
        let (body, edited) = fault(Edit::Delete(1)).edited_body(&source).expect("it applies");
        assert_eq!(edited, source[body].replace("g();", ""));
        assert!(fault(Edit::Delete(1)).edited_body("fn f() {}").is_err());
    }

    #[test]
    fn a_name_has_exactly_one_marker() {
        assert!(place(&fault(Edit::Delete(1)), vec![]).is_err());
        assert!(place(&fault(Edit::Delete(1)), vec!["x".into(), "x".into()]).is_err());
        assert_eq!(place(&fault(Edit::Delete(1)), vec!["x".into()]).expect("one"), "x");
        let sources = BTreeMap::from([("x".into(), format!("{MARKER}a\n{MARKER}b\n{MARKER}a"))]);
        let markers = markers(&sources);
        assert_eq!((markers["a"].len(), markers["b"].len()), (2, 1));
    }
}
