//! The structure of `src`: levels between folders, no import circle between files, and a map in `src/lib.rs` that is true.
//!
//! Imports are read from the text: `use` statements and paths that begin with `crate`, `self`, `super` or a child module.
//! A path through a `pub use` leads to the file that defines the name; the `pub use` itself is not an import.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The levels of `src`, highest first. A folder uses only levels below its own.
const LEVELS: [&[&str]; 24] = [
    &["cli"],
    &["serve"],
    &["pipeline"],
    &["page"],
    &["report"],
    &["bench"],
    &["preview"],
    &["cluster"],
    &["run"],
    &["inventory", "lock"],
    &["models"],
    &["ask"],
    &["output"],
    &["store"],
    &["plan"],
    &["spec"],
    &["source", "stage", "provider", "assertion"],
    &["prompt", "starlark"],
    &["object"],
    &["registry", "table"],
    &["document"],
    &["search"],
    &["stats"],
    &["name", "random"],
];

/// The path of a module, such as `["run", "limiter"]`.
type Module = Vec<String>;

/// The code of every file of `src` by its module, without comments, strings and unit tests.
struct Sources {
    code: BTreeMap<Module, String>,
    /// The names that a module re-exports, with their paths from the crate's root.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| self::files(folder));
    files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).chain(below).collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("text")
}

/// The module of a file below `src`.
fn module(path: &Path) -> Module {
    let inner = path.strip_prefix(src()).expect("below src").with_extension("");
    let mut names: Module = inner.iter().map(|name| name.to_str().expect("a name").to_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// Rust code without comments, without what strings say, and without unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The paths of a `use` statement, its braces expanded and its renamings left out.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((start, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return if path.is_empty() { Vec::new() } else { vec![path.to_owned()] };
    };
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for c in inner[..inner.rfind('}').unwrap_or(inner.len())].chars() {
        match c {
            ',' if depth == 0 => branches.push(String::new()),
            _ => branches.last_mut().expect("never empty").push(c),
        }
        depth += i32::from(c == '{') - i32::from(c == '}');
    }
    branches.iter().flat_map(|branch| expanded(branch)).map(|path| format!("{start}{path}")).collect()
}

/// The trees of the `use` statements in `code`, and whether each is public; then the code without them.
fn uses(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let start = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].trim_end();
            let line = before.rsplit(['\n', '}']).next().unwrap_or_default().trim();
            line.is_empty() || line.ends_with(']') || line.starts_with("pub")
        });
        match start {
            Some(at) => {
                let line = statement[..at].trim_end().rsplit('\n').next().unwrap_or_default();
                found.push((line.trim().starts_with("pub"), statement[at + 4..].trim_end_matches(';').to_owned()));
                rest.push_str(&statement[..at]);
            }
            None => rest.push_str(statement),
        }
    }
    (found, rest)
}

impl Sources {
    fn read() -> Self {
        let files = files(&src()).into_iter().filter(|path| {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            !name.ends_with("tests") && name != "main" && !path.iter().any(|part| part == "tests")
        });
        let code = files.map(|path| (module(&path), code(&text(&path)))).collect();
        let mut sources = Sources { code, exports: BTreeMap::new() };
        for (module, code) in &sources.code {
            let public = uses(code).0.into_iter().filter(|(public, _)| *public);
            let paths = public.flat_map(|(_, tree)| expanded(&tree));
            let absolute = paths.filter_map(|path| sources.absolute(module, &path));
            let named = absolute.map(|path| (path.last().expect("a name").clone(), path)).collect();
            sources.exports.insert(module.clone(), named);
        }
        sources
    }

    /// A path as seen from `module`, from the crate's root; `None` if it leads out of the crate.
    fn absolute(&self, module: &Module, path: &str) -> Option<Module> {
        let mut names = path.split("::").map(|name| name.trim().to_owned()).peekable();
        let mut base = module.clone();
        match names.peek()?.as_str() {
            "crate" => {
                base.clear();
                names.next();
            }
            "self" => drop(names.next()),
            "super" => {
                while names.next_if(|name| name == "super").is_some() {
                    base.pop();
                }
            }
            child => {
                let child = [module.as_slice(), &[child.to_owned()]].concat();
                self.code.get(&child)?;
            }
        }
        base.extend(names.filter(|name| name != "self"));
        Some(base)
    }

    /// The file that defines what a path from the crate's root names.
    fn file(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let known = (0..=path.len()).rev().find(|n| self.code.contains_key(&path[..*n])).unwrap_or_default();
            let (module, rest) = path.split_at(known);
            let export = rest.first().and_then(|name| self.exports.get(module)?.get(name));
            match export {
                Some(target) => path = [target.as_slice(), &rest[1..]].concat(),
                None => return module.to_vec(),
            }
        }
        path
    }

    /// The files that the file of `module` imports.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let (uses, rest) = uses(&self.code[module]);
        let private = uses.iter().filter(|(public, _)| !public).flat_map(|(_, tree)| expanded(tree));
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let inline = rest.split(|c| !word(c)).filter(|path| path.contains("::")).map(str::to_owned);
        let absolute = private.chain(inline).filter_map(|path| self.absolute(module, &path));
        let files = absolute.map(|path| self.file(&path));
        files.filter(|file| file != module && !file.is_empty()).collect()
    }
}

fn level(folder: &str) -> usize {
    let level = LEVELS.iter().position(|level| level.contains(&folder));
    LEVELS.len() - level.unwrap_or_else(|| panic!("`{folder}` is not on a level"))
}

#[test]
fn a_folder_uses_only_levels_below_its_own() {
    let sources = Sources::read();
    let mut wrong = Vec::new();
    for module in sources.code.keys().filter(|module| !module.is_empty()) {
        for other in sources.imports(module) {
            if other[0] != module[0] && level(&other[0]) >= level(&module[0]) {
                wrong.push(format!("{} uses {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files that `from` imports, directly or through others.
fn reached<'a>(from: &'a Module, imports: &'a BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        open.extend(imports[next].iter().filter(|import| reached.insert(*import)));
    }
    reached
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = Sources::read();
    let imports: BTreeMap<&Module, BTreeSet<Module>> = sources.code.keys().map(|m| (m, sources.imports(m))).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|from| (*from, reached(from, &imports))).collect();
    let circle = |module: &&Module| {
        let members = reached[*module].iter().filter(|other| reached[**other].contains(*module));
        members.map(|member| member.join("::")).collect::<Vec<_>>()
    };
    let circles: BTreeSet<Vec<String>> = reached.keys().map(circle).filter(|members| !members.is_empty()).collect();
    assert!(circles.is_empty(), "files that import each other: {circles:#?}");
}

#[test]
fn only_the_terminal_prints() {
    for (module, code) in Sources::read().code.iter().filter(|(module, _)| module.first().is_none_or(|m| m != "cli")) {
        for word in ["println!", "eprintln!", "print!(", "dbg!", "process::exit"] {
            assert!(!code.contains(word), "{} has {word}", module.join("::"));
        }
    }
}

/// The first cells of the rows of the Markdown table below `heading` in the crate's documentation, with their second cells.
fn rows(heading: &str) -> Vec<(String, String)> {
    let lib = text(&src().join("lib.rs"));
    let (_, section) = lib.split_once(&format!("//! # {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let lines = section.lines().take_while(|line| line.starts_with("//!") && !line.starts_with("//! # "));
    let cells = lines.filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "));
    cells.map(|(first, second)| (first.to_owned(), second.to_owned())).skip(1).collect()
}

/// The words in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_map_of_the_crate_has_these_levels() {
    let rows = rows("The folders");
    let levels: Vec<Vec<&str>> = rows.iter().map(|(folders, _)| quoted(folders)).collect();
    assert_eq!(levels, LEVELS);
    for folder in LEVELS.iter().copied().flatten() {
        let there = src().join(folder).is_dir() || src().join(format!("{folder}.rs")).is_file();
        assert!(there, "there is no {folder}");
    }
}

#[test]
fn the_map_of_the_crate_names_files_that_exist() {
    let rows = rows("Where do I ...");
    assert!(rows.len() >= 8, "eight tasks at least");
    for (task, places) in rows {
        let files: Vec<&str> = quoted(&places).into_iter().filter(|word| word.contains('/')).collect();
        assert!(!files.is_empty(), "{task}: no file is named");
        for file in files {
            assert!(src().parent().expect("the project").join(file).exists(), "{task}: there is no {file}");
        }
    }
}
