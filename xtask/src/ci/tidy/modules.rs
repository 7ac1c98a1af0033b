//! Import cycles between the top-level modules of the library crates.
//!
//! An edge from `a` to `b` is a path `crate::b::..` or `crate::Name` in `a`, where the crate root
//! exports `Name` from `b`. Tests are not searched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

use super::File;

const CRATES: [&str; 8] =
    ["hooks", "ownership", "sync", "runtime", "net", "os", "http", "tokio-bridge"];

/// Edges that may be part of a cycle: crate, from, to, reason.
const ALLOWED: &[(&str, &str, &str, &str)] = &[];

/// For each module, the modules that it imports from.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Prints each cycle, and names those that are not allowed.
pub(super) fn problems(files: &[File]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in CRATES {
        let graph = graph(&format!("{name}/src/"), files)?;
        let all = cycles(&graph);
        for cycle in &all {
            println!("modules: a cycle in {name}: {}", describe(&graph, cycle));
        }
        let mut rest = graph.clone();
        for (_, from, to, reason) in ALLOWED.iter().filter(|edge| edge.0 == name) {
            println!("modules: allowed in {name}: {from} -> {to}: {reason}");
            let in_cycle = all.iter().any(|cycle| cycle.contains(*from) && cycle.contains(*to));
            let edges = rest.get_mut(*from);
            if !edges.is_some_and(|edges| edges.remove(*to)) || !in_cycle {
                problems.push(format!("{name}: the allowed edge {from} -> {to} is in no cycle"));
            }
        }
        problems.extend(
            cycles(&rest).iter().map(|cycle| {
                format!("{name}: its modules form a cycle: {}", describe(&rest, cycle))
            }),
        );
    }
    if problems.is_empty() && ALLOWED.is_empty() {
        println!("modules: no cycles in {}", CRATES.join(", "));
    }
    Ok(problems)
}

/// Reads the imports of the files below a folder `CRATE/src/`.
fn graph(folder: &str, files: &[File]) -> Result<Graph> {
    let mut graph = Graph::new();
    let mut exports = BTreeMap::new();
    let mut imports = Vec::new();
    for file in files {
        let Some(path) = file.name.strip_prefix(folder) else { continue };
        let parsed = syn::parse_file(&file.text).with_context(|| file.name.clone())?;
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        if path == "lib" {
            exports = exported(&parsed);
        } else if path != "main" && !path.ends_with("tests") {
            let mut search = Imports { depth: path.split('/').count(), names: BTreeSet::new() };
            search.visit_file(&parsed);
            let top = path.split('/').next().unwrap_or(path).to_owned();
            graph.entry(top.clone()).or_default();
            imports.push((top, search.names));
        }
    }
    for (from, names) in imports {
        let target = |name: String| match graph.contains_key(&name) {
            true => Some(name),
            false => exports.get(&name).cloned(),
        };
        let targets: Vec<String> = names.into_iter().filter_map(target).collect();
        let edges = graph.entry(from.clone()).or_default();
        edges.extend(targets.into_iter().filter(|to| *to != from));
    }
    Ok(graph)
}

/// The names that the crate root exports, with the module of each.
fn exported(root: &syn::File) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for item in &root.items {
        let Item::Use(item) = item else { continue };
        let mut tree = &item.tree;
        while let UseTree::Path(path) = tree
            && (path.ident == "self" || path.ident == "crate")
        {
            tree = &path.tree;
        }
        if let UseTree::Path(path) = tree {
            let module = path.ident.to_string();
            for name in leaves(&path.tree) {
                exports.insert(name, module.clone());
            }
        }
    }
    exports
}

/// The names that a `use` tree brings into scope.
fn leaves(tree: &UseTree) -> Vec<String> {
    match tree {
        UseTree::Path(path) => leaves(&path.tree),
        UseTree::Name(name) => vec![name.ident.to_string()],
        UseTree::Rename(rename) => vec![rename.rename.to_string()],
        UseTree::Glob(_) => Vec::new(),
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Collects the names behind `crate::`, or behind as many `super::` as lead to the crate root.
struct Imports {
    /// How many modules enclose the present code.
    depth: usize,
    names: BTreeSet<String>,
}

impl Imports {
    fn add_use(&mut self, tree: &UseTree, supers: usize) {
        let UseTree::Path(path) = tree else { return };
        let supers = if path.ident == "crate" {
            self.depth
        } else if path.ident == "super" {
            supers + 1
        } else {
            return;
        };
        if supers == self.depth {
            self.names.extend(heads(&path.tree));
        } else {
            self.add_use(&path.tree, supers);
        }
    }

    /// Reads paths such as `crate::a::b` from the tokens of a macro.
    fn add_tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match (token, tokens.get(index + 3)) {
                (TokenTree::Group(group), _) => self.add_tokens(group.stream()),
                (TokenTree::Ident(ident), Some(TokenTree::Ident(name))) if ident == "crate" => {
                    self.names.insert(name.to_string());
                }
                _ => {}
            }
        }
    }
}

/// The first names of a `use` tree.
fn heads(tree: &UseTree) -> Vec<String> {
    match tree {
        UseTree::Path(path) => vec![path.ident.to_string()],
        UseTree::Group(group) => group.items.iter().flat_map(heads).collect(),
        tree => leaves(tree),
    }
}

impl<'a> Visit<'a> for Imports {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_test(&module.attrs) {
            self.depth += 1;
            visit::visit_item_mod(self, module);
            self.depth -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.add_use(&item.tree, 0);
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let supers = path.segments.iter().take_while(|segment| segment.ident == "super").count();
        let is_crate = path.segments.first().is_some_and(|segment| segment.ident == "crate");
        let skipped = if is_crate { 1 } else { supers };
        let from_root = is_crate || (supers > 0 && supers == self.depth);
        if let (true, Some(segment)) = (from_root, path.segments.iter().nth(skipped)) {
            self.names.insert(segment.ident.to_string());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'a syn::Macro) {
        self.add_tokens(invocation.tokens.clone());
    }
}

/// Whether the attributes contain `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = || attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test");
        attribute.path().is_ident("cfg") && is_test()
    })
}

/// The sets of modules that reach each other, of two or more modules.
fn cycles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|module| (module.as_str(), reachable(graph, module))).collect();
    let with = |module: &str| -> BTreeSet<String> {
        let others = reach[module].iter().filter(|other| reach[*other].contains(module));
        others.map(|&other| other.to_owned()).collect()
    };
    let cycles: BTreeSet<_> = graph.keys().map(|module| with(module)).collect();
    cycles.into_iter().filter(|cycle| cycle.len() > 1).collect()
}

fn reachable<'a>(graph: &'a Graph, module: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = graph[module].iter().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if let Some((next, edges)) = graph.get_key_value(next)
            && reached.insert(next.as_str())
        {
            open.extend(edges.iter().map(String::as_str));
        }
    }
    reached
}

/// The edges inside a cycle.
fn describe(graph: &Graph, cycle: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for from in cycle {
        let to: Vec<&str> = graph[from].intersection(cycle).map(String::as_str).collect();
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{from} -> {}", to.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_of(files: &[(&str, &str)]) -> Graph {
        let file = |&(name, text): &(&str, &str)| File { name: name.into(), text: text.into() };
        graph("c/src/", &files.iter().map(file).collect::<Vec<_>>()).expect("it parses")
    }

    #[test]
    fn imports_are_resolved_through_the_crate_root() {
        let graph = graph_of(&[
            ("c/src/lib.rs", "mod a; mod b; mod d; pub use a::{X, y::Z as W};"),
            ("c/src/a.rs", "fn f() { m!(x, crate::d::g()); }"),
            ("c/src/b/mod.rs", "use crate::{X, std}; #[cfg(test)] mod tests { use crate::d; }"),
            ("c/src/b/e.rs", "use super::super::d::G; fn f(w: super::f::H) {}"),
            ("c/src/d.rs", "fn f() -> crate::W { super::b::f() }"),
        ]);
        let edges: Vec<(&str, Vec<&str>)> = graph
            .iter()
            .map(|(from, to)| (from.as_str(), to.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(edges, [("a", vec!["d"]), ("b", vec!["a", "d"]), ("d", vec!["a", "b"])]);
    }

    #[test]
    fn modules_that_reach_each_other_form_one_cycle() {
        let edges = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e")];
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry(from.into()).or_default().insert(to.into());
            graph.entry(to.into()).or_default();
        }
        let cycles = cycles(&graph);
        assert_eq!(cycles, [BTreeSet::from(["a", "b", "c"].map(String::from))]);
        assert_eq!(describe(&graph, &cycles[0]), "a -> b; b -> c; c -> a");
    }
}
