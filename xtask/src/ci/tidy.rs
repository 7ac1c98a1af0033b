//! House rules that no other tool checks: width of lines, length of functions and files, leftovers.
//!
//! Method: the sources are read line by line. Since `cargo fmt` fixes the layout, a function ends
//! at the first closing brace with the indentation of its first line, and no parser is needed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// Unfinished code, and tests that are not run. In pieces, so that this file may hold them.
const LEFTOVERS: [&str; 4] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[ign", "ore"),
];

/// Folders that hold no sources of ours.
const FOREIGN: [&str; 2] = ["target", ".git"];

/// Names each breach of the rules below `root`.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    if !root.join("CHANGELOG.md").exists() {
        faults.push("CHANGELOG.md is missing".to_string());
    }
    for path in sources(root)? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        faults.extend(file_faults(&name, &text));
    }
    Ok(faults)
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let is_foreign = FOREIGN.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && !is_foreign {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| e == "rs") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

fn file_faults(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let width = line.chars().count();
        if width > LINE_CHARS_MAX {
            faults.push(format!("{name}:{}: {width} characters wide", index + 1));
        }
        let is_comment = line.trim_start().starts_with("//");
        for leftover in LEFTOVERS.iter().filter(|word| !is_comment && line.contains(**word)) {
            faults.push(format!("{name}:{}: {leftover}", index + 1));
        }
    }
    let is_source = name.contains("src/") && !is_test_file(name);
    if is_source && lines.len() > FILE_LINES_MAX {
        faults.push(format!("{name}: {} lines", lines.len()));
    }
    if is_source {
        faults.extend(long_functions(name, &lines));
    }
    faults
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

fn long_functions(name: &str, lines: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        if lines[index].trim() == "#[cfg(test)]" {
            index = block_end(lines, index + 1) + 1;
            continue;
        }
        if is_function(lines[index]) {
            let length = block_end(lines, index) - index + 1;
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{name}:{}: a function of {length} lines", index + 1));
            }
        }
        index += 1;
    }
    faults
}

/// Whether a line begins a function: `fn` behind nothing but qualifiers.
fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        let is_qualifier = matches!(*word, "const" | "async" | "unsafe" | "extern" | "pub" | "in");
        is_qualifier || word.starts_with("pub(") || word.starts_with('"')
    });
    words.next() == Some("fn")
}

/// The last line of the item that begins at `start`: its own if it ends there, or the first closing
/// brace with its indentation.
fn block_end(lines: &[&str], start: usize) -> usize {
    let Some(first) = lines.get(start) else {
        return start;
    };
    let indentation = &first[..first.len() - first.trim_start().len()];
    let closing = format!("{indentation}}}");
    for (index, line) in lines.iter().enumerate().skip(start) {
        let is_single = index == start && line.ends_with([';', '}']);
        // A declaration over several lines ends with its closing bracket and a semicolon.
        let is_declaration = line.starts_with(&format!("{indentation})")) && line.ends_with(';');
        if is_single || is_declaration || *line == closing {
            return index;
        }
    }
    lines.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(indentation: &str, lines: usize) -> String {
        let body = format!("{indentation}    x();\n").repeat(lines - 2);
        format!("{indentation}pub(crate) async fn f() {{\n{body}{indentation}}}\n")
    }

    #[test]
    fn a_function_is_measured_from_its_first_line_to_its_brace() {
        assert!(file_faults("a/src/b.rs", &function("", 70)).is_empty());
        let expected = ["a/src/b.rs:1: a function of 71 lines"];
        assert_eq!(file_faults("a/src/b.rs", &function("", 71)), expected);
        let method = format!("impl A {{\n{}}}\n", function("    ", 71));
        assert_eq!(file_faults("a/src/b.rs", &method), ["a/src/b.rs:2: a function of 71 lines"]);
    }

    #[test]
    fn tests_may_be_long() {
        let module = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("    ", 90));
        assert!(file_faults("a/src/b.rs", &module).is_empty());
        assert!(file_faults("a/tests/it/b.rs", &function("", 700)).is_empty());
        let behind = format!("{module}{}", function("", 71));
        assert_eq!(file_faults("a/src/b.rs", &behind).len(), 1);
    }

    #[test]
    fn declarations_without_a_body_have_no_length() {
        let declarations = format!(
            "trait A {{\n    fn a(\n        &self,\n    ) -> u8;\n    fn b();\n{}}}\n",
            "    const X: u8 = 0;\n".repeat(100)
        );
        assert!(file_faults("a/src/b.rs", &declarations).is_empty());
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_hides_nothing_behind_it() {
        let text = format!("#[cfg(test)]\nmod tests;\n{}", function("", 71));
        assert_eq!(file_faults("a/src/b.rs", &text).len(), 1);
    }

    #[test]
    fn wide_lines_long_files_and_leftovers_are_named() {
        let wide = format!("// {}\n", "x".repeat(98));
        assert_eq!(file_faults("b.rs", &wide), ["b.rs:1: 101 characters wide"]);
        assert_eq!(file_faults("a/src/b.rs", &"\n".repeat(601)), ["a/src/b.rs: 601 lines"]);
        assert_eq!(file_faults("b.rs", &format!("    {})\n", LEFTOVERS[0])).len(), 1);
        assert!(file_faults("b.rs", &format!("// {})\n", LEFTOVERS[0])).is_empty());
    }

    #[test]
    fn a_word_that_only_holds_fn_begins_no_function() {
        assert!(is_function("    pub(super) const unsafe fn a() {"));
        assert!(is_function("pub extern \"C\" fn a() {"));
        assert!(!is_function("    run: fn(&mut Runner) -> Result<Outcome>,"));
        assert!(!is_function("let f = fn_of(x);"));
    }
}
