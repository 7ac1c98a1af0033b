//! Pictures and tables in the documents. The text between them is not changed.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{chart, markdown};
use crate::record::Record;

/// Draws the pictures into `docs`, and fills the marked parts of the documents.
pub(crate) fn publish(record: &Record, root: &Path) -> Result<()> {
    ensure!(record.figures.is_some(), "there are no figures");
    pictures(record, &root.join("docs"))?;
    for document in ["docs/performance.md", "README.md"] {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path).context(document)?;
        let filled = fill(&text, record).context(document)?;
        std::fs::write(&path, filled).context(document)?;
    }
    Ok(())
}

/// Draws the pictures into a folder.
pub(crate) fn pictures(record: &Record, folder: &Path) -> Result<()> {
    let Some(part) = &record.figures else { return Ok(()) };
    for (name, svg) in [
        ("performance-echo.svg", chart::echo(&part.results)),
        ("performance-primitives.svg", chart::primitives(&part.results)),
    ] {
        std::fs::write(folder.join(name), svg).context(name)?;
    }
    Ok(())
}

/// Replaces the text between `<!-- bench: NAME -->` and `<!-- bench end -->`.
fn fill(text: &str, record: &Record) -> Result<String> {
    const BEGIN: &str = "<!-- bench: ";
    const END: &str = "<!-- bench end -->";
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").context("a mark without an end")?;
        let (_, after) = after.split_once(END).with_context(|| format!("{name} has no end"))?;
        let part = markdown::part(name, record)?;
        filled += &format!("{before}{BEGIN}{name} -->\n\n{}\n\n{END}", part.trim());
        rest = after;
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::fill;
    use crate::record::Record;

    #[test]
    fn text_outside_of_the_marks_is_not_changed() {
        let text = "a\n<!-- bench: behind -->\nold\n<!-- bench end -->\nb\n";
        let filled = fill(text, &Record::default()).expect("the marks are correct");
        assert!(filled.starts_with("a\n<!-- bench: behind -->\n\n"), "{filled}");
        assert!(filled.ends_with("<!-- bench end -->\nb\n"), "{filled}");
        assert!(!filled.contains("old"), "{filled}");
        assert!(fill("<!-- bench: nonsense --><!-- bench end -->", &Record::default()).is_err());
        assert!(fill("<!-- bench: behind -->", &Record::default()).is_err());
    }
}
