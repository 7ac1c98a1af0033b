//! The direction of the arrows between the crates.

use crate::workspace::Package;

/// For each crate, those below it. `echo -> net -> runtime -> ownership`, and `echo -> sync`.
const LAYERS: &[(&str, &[&str])] = &[
    ("matou-ownership", &[]),
    ("matou-sync", &[]),
    ("matou-runtime", &["matou-ownership"]),
    ("matou-net", &["matou-runtime", "matou-ownership"]),
    ("matou-echo", &["matou-net", "matou-runtime", "matou-ownership", "matou-sync"]),
    ("matou-explore", &ALL),
    ("xtask", &[]),
];

/// The explorer tries them all together, and nobody builds on it.
const ALL: [&str; 5] =
    ["matou-echo", "matou-net", "matou-runtime", "matou-ownership", "matou-sync"];

/// Dependencies of tests, examples and benches that no layer forbids: `sync` knows nobody, so a
/// test of the runtime may use it without making a circle.
const FREE_FOR_TESTS: &[(&str, &str)] =
    &[("matou-runtime", "matou-sync"), ("matou-net", "matou-sync")];

/// Names each dependency between crates of the workspace that points the wrong way.
pub(super) fn faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
            faults.push(format!("{}: no layer is known for it", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let is_ours = packages.iter().any(|other| other.name == dependency.name);
            let pair = (package.name.as_str(), dependency.name.as_str());
            let is_free = dependency.is_dev && FREE_FOR_TESTS.contains(&pair);
            if is_ours && !below.contains(&pair.1) && !is_free {
                faults.push(format!("{} must not depend on {}", pair.0, pair.1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |&(name, is_dev): &(&str, bool)| Dependency { name: name.into(), is_dev };
        let dependencies = dependencies.iter().map(dependency).collect();
        Package { name: name.into(), dependencies }
    }

    #[test]
    fn arrows_that_point_down_are_right() {
        let packages = [
            package("matou-ownership", &[("futures", true)]),
            package("matou-sync", &[("event-listener", false)]),
            package("matou-runtime", &[("matou-ownership", false), ("matou-sync", true)]),
            package("matou-net", &[("matou-runtime", false)]),
            package("matou-echo", &[("matou-net", false), ("matou-sync", false)]),
        ];
        assert_eq!(faults(&packages), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_named() {
        let packages = [
            package("matou-ownership", &[("matou-runtime", true)]),
            package("matou-sync", &[("matou-ownership", false)]),
            package("matou-runtime", &[("matou-sync", false), ("matou-net", true)]),
            package("matou-net", &[]),
            package("stranger", &[]),
        ];
        let expected = [
            "matou-ownership must not depend on matou-runtime",
            "matou-sync must not depend on matou-ownership",
            "matou-runtime must not depend on matou-sync",
            "matou-runtime must not depend on matou-net",
            "stranger: no layer is known for it",
        ];
        assert_eq!(faults(&packages), expected);
    }
}
