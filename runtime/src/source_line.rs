//! Lines of the program, as reports name them.

use std::fmt;
use std::panic::Location;

/// The path of the folder that contains the crates of matou, as the compiler names it.
const WORKSPACE: &str = {
    let (path, own) = (file!(), "runtime/src/source_line.rs");
    path.split_at(path.len().saturating_sub(own.len())).0
};

/// The sources of matou's crates, in that folder.
const OWN: [(&str, &str); 4] = [
    ("runtime/src/", "matou-runtime"),
    ("net/src/", "matou-net"),
    ("sync/src/", "matou-sync"),
    ("ownership/src/", "matou-ownership"),
];

/// Returns the library that contains a line, if it is not a line of the program.
///
/// A trait such as `AsyncRead` is called by a combinator of another crate, and a function that is
/// passed as a value is called by the standard library: then the caller's line is not a line of the
/// program.
pub(crate) fn library_of(location: &Location<'static>) -> Option<&'static str> {
    library_of_file(location.file())
}

fn library_of_file(file: &'static str) -> Option<&'static str> {
    if let Some(relative) = file.strip_prefix(WORKSPACE)
        && let Some((_, name)) = OWN.iter().find(|(folder, _)| relative.starts_with(folder))
    {
        return Some(name);
    }
    // The marker of a place of libraries, and the number of folders between it and the library.
    let is_std = file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/");
    let places: &[(&str, usize)] = match is_std {
        true => &[("/library/", 0)],
        false => &[("/registry/src/", 1), ("/git/checkouts/", 0)],
    };
    places.iter().find_map(|(marker, folders)| {
        let (_, rest) = file.split_once(marker)?;
        rest.split('/').nth(*folders).map(without_version)
    })
}

/// Removes the version from the name of a folder such as `futures-util-0.3.31`.
fn without_version(folder: &'static str) -> &'static str {
    folder.rsplit_once('-').map_or(folder, |(name, _)| name)
}

/// Displays the line of a wait: ` at src/main.rs:7:9`, or ` through futures-util`. A function that
/// is called through a pointer or a trait object has no caller but itself: then nothing is
/// displayed.
pub(crate) struct At(pub(crate) &'static Location<'static>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match library_of(self.0) {
            Some(library) if is_own(library) => Ok(()),
            Some(library) => write!(f, " through {library}"),
            None => write!(f, " at {}", self.0),
        }
    }
}

/// Displays the line of a use; as [`At`], but never empty.
pub(crate) struct Used(pub(crate) &'static Location<'static>);

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match library_of(self.0).is_some_and(is_own) {
            true => f.write_str(" through a function pointer or a trait object"),
            false => At(self.0).fmt(f),
        }
    }
}

fn is_own(library: &str) -> bool {
    library.starts_with("matou-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_lines_of_libraries_are_told_from_those_of_the_program() {
        assert_eq!(without_version("futures-util-0.3.31"), "futures-util");
        for (file, library) in [
            ("src/main.rs", None),
            ("/home/a/net/src/main.rs", None),
            ("net-tests/src/main.rs", None),
            ("runtime/tests/it/source_lines.rs", None),
            ("runtime/src/spawn/mod.rs", Some("matou-runtime")),
            ("net/src/stream/mod.rs", Some("matou-net")),
            ("/rustc/0a1b/library/core/src/ops/function.rs", Some("core")),
            ("/a/lib/rustlib/src/rust/library/std/src/panic.rs", Some("std")),
            ("/home/a/.cargo/git/checkouts/smol-5f8c/0a1b/src/lib.rs", Some("smol")),
        ] {
            assert_eq!(library_of_file(file), library, "{file}");
        }
        let file = concat!(
            "/home/a/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f",
            "/futures-util-0.3.31/src/io/read.rs"
        );
        assert_eq!(library_of_file(file), Some("futures-util"));
    }
}
