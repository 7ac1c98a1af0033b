//! The direction of the dependencies between the crates.

use crate::workspace::Package;

/// For each crate, the crates that it may depend on: `echo -> net -> runtime -> ownership, hooks`,
/// `http -> net, sync`, `tokio -> runtime, sync`, and `echo -> sync -> hooks`.
const LAYERS: &[(&str, &[&str])] = &[
    ("matou-hooks", &[]),
    ("matou-ownership", &[]),
    ("matou-sync", &["matou-hooks"]),
    ("matou-runtime", &["matou-ownership", "matou-hooks"]),
    ("matou-net", &["matou-runtime", "matou-ownership"]),
    ("matou-os", &["matou-runtime", "matou-ownership"]),
    ("matou-http", &["matou-net", "matou-runtime", "matou-ownership", "matou-sync"]),
    ("matou-tokio", &["matou-runtime", "matou-ownership", "matou-sync"]),
    ("matou-echo", &["matou-net", "matou-runtime", "matou-ownership", "matou-sync"]),
    ("matou-explore", &ALL),
    ("matou-loadgen", &[]),
    ("xtask", &[]),
];

/// The explorer runs all of them together.
const ALL: [&str; 6] =
    ["matou-echo", "matou-net", "matou-runtime", "matou-ownership", "matou-sync", "matou-hooks"];

/// Additional dependencies of tests, examples and benches. `sync` depends on `hooks` alone, so
/// these form no cycle.
const FREE_FOR_TESTS: &[(&str, &str)] =
    &[("matou-runtime", "matou-sync"), ("matou-net", "matou-sync"), ("matou-os", "matou-sync")];

/// Lists each dependency between crates of the workspace that is not allowed.
pub(super) fn problems(packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
            problems.push(format!(
                "{}: not in the table of layers in xtask/src/ci/tidy/layers.rs",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let is_ours = packages.iter().any(|other| other.name == dependency.name);
            let pair = (package.name.as_str(), dependency.name.as_str());
            let is_free = dependency.is_dev && FREE_FOR_TESTS.contains(&pair);
            if is_ours && !below.contains(&pair.1) && !is_free {
                problems.push(format!("{} must not depend on {}", pair.0, pair.1));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |&(name, is_dev): &(&str, bool)| Dependency { name: name.into(), is_dev };
        let dependencies = dependencies.iter().map(dependency).collect();
        Package { name: name.into(), folder: name.into(), dependencies, is_published: true }
    }

    #[test]
    fn dependencies_on_lower_layers_are_allowed() {
        let packages = [
            package("matou-ownership", &[("futures", true)]),
            package("matou-sync", &[("event-listener", false), ("matou-hooks", false)]),
            package("matou-runtime", &[("matou-ownership", false), ("matou-sync", true)]),
            package("matou-net", &[("matou-runtime", false)]),
            package("matou-echo", &[("matou-net", false), ("matou-sync", false)]),
        ];
        assert_eq!(problems(&packages), Vec::<String>::new());
    }

    #[test]
    fn other_dependencies_are_problems() {
        let packages = [
            package("matou-ownership", &[("matou-runtime", true)]),
            package("matou-sync", &[("matou-ownership", false)]),
            package("matou-runtime", &[("matou-sync", false), ("matou-net", true)]),
            package("matou-net", &[]),
            package("unknown", &[]),
        ];
        let expected = [
            "matou-ownership must not depend on matou-runtime",
            "matou-sync must not depend on matou-ownership",
            "matou-runtime must not depend on matou-sync",
            "matou-runtime must not depend on matou-net",
            "unknown: not in the table of layers in xtask/src/ci/tidy/layers.rs",
        ];
        assert_eq!(problems(&packages), expected);
    }
}
