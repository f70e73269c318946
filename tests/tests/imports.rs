//! The files of a crate must not import each other in cycles, so that each can be understood from the files it imports.
//!
//! An import is a `use` or a path that begins with `crate`, `self`, `super` or a module declared in the file. `mod`
//! declarations and unit tests do not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

#[test]
fn files_of_a_crate_do_not_import_each_other_in_cycles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for sources in [
        "guest/json/src",
        "guest/reader/src",
        "guest/component/src",
        "guest/lease/src",
        "guest/edge/src",
        "host/src",
        "tests/support/src",
        "tests/edge/src",
        "bench/src",
    ] {
        let cycles = cycles(&modules(&root.join(sources)));
        assert!(cycles.is_empty(), "import cycles in {sources}: {cycles:#?}");
    }
}

#[test]
fn a_cycle_is_found_however_it_is_written() {
    let module = |path: &str, source: &str| (split(path), source.to_owned());
    for (a, b, has_cycle) in [
        ("use crate::b::B;", "use crate::a::{self, A};", true),
        ("use super::b;", "fn f() { crate::a::g() }", true),
        ("use crate::{b::{c::C, D}, x};", "pub(crate) use super::a::*;", true),
        ("use crate::b::B;", "use std::a::A; use crate::c;", false),
        ("use crate::b::B;", "#[cfg(test)] mod tests { use crate::a; }", false),
        ("mod b; use b::B;", "use super::super::c;", false),
        ("use crate::b;", "mod inner { use super::super::a::A; }", true),
        ("use crate::b;", "mod inner { use super::B; } mod other { use self::b::B; }", false),
        ("// use crate::b;", "/* crate::a::f() */ use crate::a;", false),
    ] {
        let found = cycles(&BTreeMap::from([module("a", a), module("b", b), module("", "mod a; mod b;")]));
        assert_eq!(!found.is_empty(), has_cycle, "{a} | {b}: {found:?}");
    }
    let nested = [module("a", "mod b; use b::B;"), module("a::b", "use super::A;")];
    assert_eq!(cycles(&BTreeMap::from(nested)), [["a", "a::b"]], "a parent and its child");
}

type Module = Vec<String>;

/// Returns the source of each module of a crate that has a file of its own.
fn modules(root: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).expect("the sources exist") {
            let path = folder.join(entry.expect("an entry").file_name());
            if root.join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let mut module: Module =
                    path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
                if module.last().is_some_and(|name| name == "mod") || module == ["lib"] || module == ["main"] {
                    module.pop();
                }
                modules.insert(module, fs::read_to_string(root.join(&path)).expect("text"));
            }
        }
    }
    assert!(modules.len() > 1, "{} has no modules", root.display());
    modules
}

/// Returns the cycles of modules that import each other.
fn cycles(modules: &BTreeMap<Module, String>) -> Vec<Vec<String>> {
    let names: Vec<&Module> = modules.keys().collect();
    let mut graph = DiGraphMap::<usize, ()>::new();
    for (from, (module, source)) in modules.iter().enumerate() {
        let mut imports = Imports { scope: module.clone(), modules, found: Vec::new() };
        let file = syn::parse_file(source).unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
        imports.visit_file(&file);
        for to in imports.found.iter().filter(|to| *to != module) {
            graph.add_edge(from, names.binary_search(&to).expect("a module"), ());
        }
    }
    let mut cycles: Vec<Vec<String>> = tarjan_scc(&graph)
        .into_iter()
        .filter(|cycle| cycle.len() > 1)
        .map(|mut cycle| {
            cycle.sort_unstable();
            cycle.into_iter().map(|module| names[module].join("::")).collect()
        })
        .collect();
    cycles.sort();
    cycles
}

/// Collects the modules that one module imports from.
struct Imports<'a> {
    /// The current module, including inline modules within the file.
    scope: Module,
    modules: &'a BTreeMap<Module, String>,
    found: Vec<Module>,
}

impl Imports<'_> {
    /// Records the module that a path leads to, if it belongs to the crate.
    fn note(&mut self, path: &[String]) {
        let (mut target, mut rest) = match path.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &path[1..]),
            Some("self") => (self.scope.clone(), &path[1..]),
            Some("super") => (self.scope.clone(), path),
            Some(name) if self.modules.contains_key(&[self.scope.as_slice(), &[name.to_owned()]].concat()) => {
                (self.scope.clone(), path)
            }
            Some(_) | None => return,
        };
        while rest.first().is_some_and(|name| name == "super") {
            target.pop();
            rest = &rest[1..];
        }
        target.extend_from_slice(rest);
        while !self.modules.contains_key(&target) {
            target.pop();
        }
        self.found.push(target);
    }

    fn note_tree(&mut self, path: &[String], tree: &UseTree) {
        let with = |name: String| [path, &[name]].concat();
        match tree {
            UseTree::Path(tree) => self.note_tree(&with(tree.ident.to_string()), &tree.tree),
            UseTree::Name(name) => self.note(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.note(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.note(path),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(path, tree)),
        }
    }
}

impl Visit<'_> for Imports<'_> {
    fn visit_item(&mut self, item: &Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.scope.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.note_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A path with a single segment is local.
        if names.len() > 1 {
            self.note(&names);
        }
        visit::visit_path(self, path);
    }
}

fn is_test(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

fn split(path: &str) -> Module {
    path.split("::").filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}
