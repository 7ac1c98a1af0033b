//! The frequency of word forms that mark a text as hard to read, over comments and Markdown.

use anyhow::{Context, Result};
use regex::{RegexSet, RegexSetBuilder};

use super::File;

/// The most lines with such forms per 10,000 words.
const RATE_MAX: usize = 10;

/// Each form as a regular expression, and what to write instead. The list only indicates such
/// sentences: avoid the construction as well as the words.
const FORMS: &[(&str, &str)] = &[
    (r"\b(nobody|somebody)\b", "name the subject: no task, another thread"),
    (r"\b(meanwhile|anew|in vain|befits)\b", "in the meantime, again, without effect"),
    (r"\b(as a rule|all the same)\b", "usually, still"),
    (r"\b(is to be|to be had)\b", "must, is available"),
    (r"\bsees? to it\b", "ensure"),
    (r"\b(his|himself|whom)\b", "name the object: the caller, the task"),
    (r"\b(told|tells?|come to light)\b", "programs notify, return, report"),
    // `Who makes one ..` at the start of a sentence or a clause, unless it is a question. A line
    // may also begin with the small word in the middle of a clause.
    (
        r"((?-i:^[-\s*#]*Wh)(o|at)|[.;:,(] ((and|but|so) )?wh(o|at))(ever)? \w+[^?]*$",
        "the caller, the value",
    ),
];

/// The maximum number of lines that are listed.
const LISTED_MAX: usize = 20;

/// Prints the rate, and lists lines with such forms if there are too many.
pub(super) fn problems(files: &[File]) -> Result<Vec<String>> {
    let forms = forms()?;
    let (mut words, mut found) = (0, Vec::new());
    for file in files {
        for (number, text) in prose(file) {
            words += text.split_whitespace().count();
            if let Some(form) = forms.matches(text).iter().next() {
                let (File { name, .. }, instead) = (file, FORMS[form].1);
                found.push(format!("{name}:{number}: {} (better: {instead})", text.trim()));
            }
        }
    }
    let rate = found.len() * 10_000 / words.max(1);
    let count = found.len();
    let summary =
        format!("{rate} hard forms per 10,000 words ({count} in {words}; at most {RATE_MAX})");
    println!("language: {summary}");
    if rate <= RATE_MAX {
        return Ok(Vec::new());
    }
    found.truncate(LISTED_MAX);
    found.push(format!("language: {summary}"));
    Ok(found)
}

fn forms() -> Result<RegexSet> {
    let forms = FORMS.iter().map(|(form, _)| form);
    RegexSetBuilder::new(forms).case_insensitive(true).build().context("a form is invalid")
}

/// The comments of a Rust file, or the text of a Markdown file without its code, by line.
fn prose(file: &File) -> Vec<(usize, &str)> {
    let lines = file.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    if file.name.ends_with(".rs") {
        let comment = |(number, line): (usize, &'_ str)| {
            let start = line.find("//")? + 2;
            let text = line[start..].strip_prefix(['/', '!']).unwrap_or(&line[start..]);
            Some((number, line.len() - text.len()))
        };
        let comments = lines.filter_map(|(number, line)| {
            let (number, start) = comment((number, line))?;
            Some((number, &line[start..]))
        });
        return comments.collect();
    }
    let mut is_code = false;
    let is_text = |(_, line): &(usize, &str)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    lines.filter(is_text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn comments_and_text_outside_code_are_prose() {
        let rust = file("a.rs", "//! One.\nlet x = 1; // Two.\nlet y = 2;\n/// Three.\n");
        assert_eq!(prose(&rust), [(1, " One."), (2, " Two."), (4, " Three.")]);
        let markdown = file("a.md", "One.\n```\ncode\n```\nTwo.\n");
        assert_eq!(prose(&markdown), [(1, "One."), (5, "Two.")]);
    }

    #[test]
    fn forms_are_found_and_questions_are_not() {
        let forms = forms().expect("they compile");
        let is_found = |text: &str| forms.is_match(text);
        let hard = [
            "Nobody waits",
            "it tells",
            "done, what comes then",
            "gone, so what is left is dropped",
            "Who makes one closes it",
            " What the caller must do.",
            "- Whatever is left is dropped",
        ];
        for hard in hard {
            assert!(is_found(hard), "{hard}");
        }
        let plain = [
            "No task waits",
            "Who is it?",
            " What happens to a value?",
            "the value that it returns",
            "This history",
            "what it waits for, as this line goes on",
        ];
        for plain in plain {
            assert!(!is_found(plain), "{plain}");
        }
    }

    #[test]
    fn a_few_forms_are_no_problem_and_many_are_listed() {
        let text = "word ".repeat(2000);
        let few = format!("{text}\nNobody\n");
        assert!(problems(&[file("a.md", &few)]).expect("it counts").is_empty());
        let many = format!("{text}\nNobody\nNobody\nNobody\n");
        let listed = problems(&[file("a.md", &many)]).expect("it counts");
        assert_eq!(listed.len(), 4);
        assert!(listed[0].starts_with("a.md:2: Nobody (better: "), "{}", listed[0]);
    }
}
