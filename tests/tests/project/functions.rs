//! A function is short enough to be read at once.

use std::{fs, path::Path};

use syn::{
    Attribute, Block, ImplItemFn, ItemFn, ItemMod, Signature, TraitItemFn,
    visit::{self, Visit},
};

use crate::{root, sources};

/// How many lines a function may have, from its `fn` to its closing brace.
const LINES_MAX: usize = 70;

/// The functions that are longer: file, function, and how many lines it may have. This list only shrinks: split a
/// function and take it out, or lower its number. Nothing is added.
const LONGER: &[(&str, &str, usize)] = &[];

/// The functions of one file that are too long, as (name, lines).
#[derive(Default)]
struct TooLong {
    found: Vec<(String, usize)>,
}

impl TooLong {
    fn check(&mut self, signature: &Signature, block: &Block) {
        let (first, last) = (signature.fn_token.span.start(), block.brace_token.span.close().end());
        let lines = last.line - first.line + 1;
        if lines > LINES_MAX {
            self.found.push((signature.ident.to_string(), lines));
        }
    }
}

impl<'ast> Visit<'ast> for TooLong {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_test(&function.attrs) {
            self.check(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.check(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// `#[test]`, `#[tokio::test]` or `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let named = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
        let configured = attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
        named || configured
    })
}

/// A source file of a crate, but for its tests.
fn is_production(path: &Path) -> bool {
    let in_tests =
        path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")));
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    path.starts_with(root().join("crates"))
        && path.extension().is_some_and(|e| e == "rs")
        && !in_tests
        && name != "tests"
        && !name.ends_with("_tests")
}

#[test]
fn functions_are_short_enough_to_be_read_at_once() {
    let mut longer: Vec<_> = LONGER.to_vec();
    let mut faults = Vec::new();
    for path in sources().into_iter().filter(|path| is_production(path)) {
        let text = fs::read_to_string(&path).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut too_long = TooLong::default();
        too_long.visit_file(&parsed);
        let file = path.strip_prefix(root()).unwrap().to_str().unwrap();
        for (function, lines) in too_long.found {
            let listed = longer.iter().position(|(f, name, _)| *f == file && *name == function);
            let may = listed.map_or(LINES_MAX, |at| longer.remove(at).2);
            if lines > may {
                faults.push(format!("{file}: {function} has {lines} lines, and may have {may}: split it"));
            } else if lines < may {
                faults.push(format!(
                    "{file}: {function} has only {lines} lines now: lower its number in the list"
                ));
            }
        }
    }
    for (file, function, _) in longer {
        faults.push(format!("{file}: {function} is short now, or gone: take it out of the list"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_search_finds_a_long_function_and_passes_over_tests() {
    let body = "let _ = 1;\n".repeat(LINES_MAX);
    let text = format!(
        "fn long() {{\n{body}}}\nstruct A;\nimpl A {{ fn inner() {{\n{body}}} }}\n#[cfg(test)]\nmod tests {{ fn x() {{\n{body}}} }}\n\
         #[test]\nfn t() {{\n{body}}}\n"
    );
    let mut too_long = TooLong::default();
    too_long.visit_file(&syn::parse_file(&text).unwrap());
    let names: Vec<_> = too_long.found.iter().map(|(name, lines)| (name.as_str(), *lines)).collect();
    assert_eq!(names, [("long", LINES_MAX + 2), ("inner", LINES_MAX + 2)]);
}
