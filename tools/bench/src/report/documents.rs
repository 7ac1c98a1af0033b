//! Pictures and tables in the documents. What people wrote between them stays as it is.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{chart, markdown, panels};
use crate::record::Record;

/// Draws the pictures into `docs`, and fills the marked parts of the documents anew.
pub(crate) fn publish(record: &Record, root: &Path) -> Result<()> {
    ensure!(record.figures.is_some(), "there are no figures yet");
    pictures(record, &root.join("docs"))?;
    for document in ["docs/performance.md", "README.md"] {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path).with_context(|| document.to_owned())?;
        let filled = fill(&text, record).with_context(|| document.to_owned())?;
        std::fs::write(&path, filled).with_context(|| document.to_owned())?;
    }
    Ok(())
}

/// Draws all that there is to draw.
pub(crate) fn pictures(record: &Record, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    if let Some(part) = &record.figures {
        chart::echo(&part.results, &folder.join("performance-echo.svg"))?;
        chart::primitives(&part.results, &folder.join("performance-primitives.svg"))?;
    }
    if let Some(part) = &record.curves {
        panels::draw(&part.results, &folder.join("scaling.svg"))?;
    }
    Ok(())
}

/// Replaces what stands between `<!-- bench: NAME -->` and `<!-- bench end -->`.
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
    fn what_stands_outside_of_the_marks_stays() {
        let text = "a\n<!-- bench: behind -->\nold\n<!-- bench end -->\nb\n";
        let filled = fill(text, &Record::default()).expect("it is marked well");
        assert!(filled.starts_with("a\n<!-- bench: behind -->\n\n"), "{filled}");
        assert!(filled.ends_with("<!-- bench end -->\nb\n"), "{filled}");
        assert!(!filled.contains("old"), "{filled}");
        assert!(fill("<!-- bench: nonsense --><!-- bench end -->", &Record::default()).is_err());
        assert!(fill("<!-- bench: behind -->", &Record::default()).is_err());
    }
}
