//! All faults in one build: an edited function of the copy contains each of its edited bodies
//! beside its own, and the environment of the process selects one.
//!
//! ```text
//! fn f() { match selected_fault() {
//! // switch: NAME
//! Some("NAME") => { .. the edited body .. }
//! // switch: -
//! _ => { .. the body .. }
//! }}
//! ```

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::table::Fault;

/// The environment variable that selects a fault by its name.
pub(super) const VARIABLE: &str = "MATOU_FAULT";

/// Begins the comment on top of each body. In pieces, so that this line is no such comment.
const SWITCH: &str = concat!("// ", "switch: ");

/// Is added to each edited file.
const SELECTED: &str = r#"
fn selected_fault() -> Option<&'static str> {
    static NAME: ::std::sync::OnceLock<Option<String>> = ::std::sync::OnceLock::new();
    NAME.get_or_init(|| ::std::env::var("MATOU_FAULT").ok()).as_deref()
}
"#;

/// Adds the edited bodies of the faults to the source of their file.
pub(super) fn with_switches<'a>(
    source: &str,
    faults: impl IntoIterator<Item = &'a Fault>,
) -> Result<String> {
    let mut functions = BTreeMap::<(usize, usize), String>::new();
    for fault in faults {
        let (body, edited) = fault.edited_body(source)?;
        let name = &fault.name;
        let arm = format!("\n{SWITCH}{name}\nSome({name:?}) => {edited}");
        functions.entry((body.start, body.end)).or_default().push_str(&arm);
    }
    let mut switched = source.to_owned();
    let mut begin_of_next = source.len();
    // From the last to the first, so that the offsets stay valid.
    for ((start, end), arms) in functions.into_iter().rev() {
        ensure!(end <= begin_of_next, "of two nested functions, each has a fault");
        begin_of_next = start;
        let body = &source[start..end];
        let switch = format!("{{ match selected_fault() {{{arms}\n{SWITCH}-\n_ => {body}\n}}}}");
        switched.replace_range(start..end, &switch);
    }
    Ok(switched + SELECTED)
}

/// The name of the fault whose edited body contains the line, counted from 1.
pub(super) fn fault_at(switched: &str, line: usize) -> Option<&str> {
    let switches = switched.lines().take(line).filter_map(|line| line.strip_prefix(SWITCH));
    switches.last().filter(|&name| name != "-")
}

#[cfg(test)]
mod tests {
    use super::super::table::MARKER;
    use super::*;

    const SOURCE: &str = "fn f(x: u8) -> u8 {
    @a
    if x == 0 {
        return 1;
    }
    x
}

fn g() {
    @b
    @c
    h();
}
";

    fn switched(names: &[&str]) -> Result<String> {
        let fault = |name: &&str| -> Fault {
            let checks = "explorer = true\nedit = { delete = 1 }";
            toml::from_str(&format!("name = '{name}'\nabout = ''\n{checks}")).expect("a fault")
        };
        with_switches(&SOURCE.replace('@', MARKER), &names.iter().map(fault).collect::<Vec<_>>())
    }

    #[test]
    fn each_function_has_its_edited_bodies_beside_its_own() {
        let text = switched(&["a", "b", "c"]).expect("the edits apply");
        syn::parse_file(&text).expect("it is valid");
        let bodies = |code: &str| text.matches(code).count();
        assert_eq!((bodies("return 1;"), bodies("    x\n}"), bodies("h();")), (1, 2, 1));
        assert_eq!(bodies("match selected_fault()"), 2);
        assert!(switched(&["d"]).is_err(), "it has no marker");
    }

    #[test]
    fn a_line_of_an_edited_body_belongs_to_its_fault() {
        let text = switched(&["a", "b"]).expect("the edits apply");
        let line_of = |code: &str| text[..text.find(code).expect("it occurs")].lines().count();
        assert_eq!(fault_at(&text, line_of("Some(\"a\")") + 2), Some("a"));
        assert_eq!(fault_at(&text, line_of("return 1;") + 1), None, "the body itself");
        assert_eq!(fault_at(&text, 1), None);
    }
}
