//! Which files of `src` use which others, read from their paths and `use` declarations.
//!
//! A name is followed through re-exports to the file that defines it, so `mod.rs` files that only re-export lead on to
//! the files behind them. Code for tests is left out. A method call does not name the file that has the method, and
//! is ignored here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module, as the names from the root of the crate to it.
pub(super) type Module = Vec<String>;

/// The names in a path, as written.
type Names = Vec<String>;

/// The files of a crate, by their modules.
#[derive(Default)]
pub(super) struct Crate(BTreeMap<Module, File>);

/// The imports and definitions of one file.
#[derive(Default)]
struct File {
    /// Names that `use` declarations bring in, with their paths; private ones and re-exports.
    imports: BTreeMap<String, Names>,
    /// Modules of which a declaration brings in everything.
    globs: Vec<Names>,
    /// Paths of two names and more.
    paths: BTreeSet<Names>,
    /// Modules in files of their own that only tests have.
    test_modules: BTreeSet<String>,
}

impl Crate {
    /// Reads all files below a directory.
    pub(super) fn read(root: &Path) -> Self {
        let mut read = Self::default();
        for path in files_below(root) {
            let mut module: Module = path
                .strip_prefix(root)
                .expect("it is below")
                .with_extension("")
                .iter()
                .map(|name| name.to_str().expect("a name of ASCII").to_owned())
                .collect();
            if module.last().is_some_and(|name| name == "mod" || name == "lib") {
                module.pop();
            }
            read.add(module, &fs::read_to_string(&path).expect("a file"));
        }
        read.without_tests()
    }

    pub(super) fn add(&mut self, module: Module, text: &str) {
        let mut file = File::default();
        file.scan(&tokens(text.parse().expect("Rust")));
        self.0.insert(module, file);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops modules that only tests have.
    fn without_tests(mut self) -> Self {
        let test_modules: Vec<_> = self
            .0
            .iter()
            .flat_map(|(module, file)| {
                file.test_modules.iter().map(|name| [&module[..], std::slice::from_ref(name)].concat())
            })
            .collect();
        self.0.retain(|module, _| !test_modules.iter().any(|tests| module.starts_with(tests)));
        self
    }

    /// Each file with those that it uses.
    pub(super) fn uses(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        self.0
            .iter()
            .map(|(module, file)| {
                let imports = file.imports.values().chain(&file.paths);
                let used = imports.filter_map(|names| self.defining(module, names));
                (module, used.filter(|used| *used != module).collect())
            })
            .collect()
    }

    /// The file that defines the item of a path in this module; none for other crates, and for a module alone.
    fn defining(&self, module: &Module, names: &[String]) -> Option<&Module> {
        self.resolve(&self.absolute(module, names)?, 0)
    }

    /// The names from the root of the crate; none for other crates.
    fn absolute(&self, module: &Module, names: &[String]) -> Option<Names> {
        let first = names.first()?;
        let mut from = module.clone();
        let rest = match first.as_str() {
            "crate" => {
                from.clear();
                &names[1..]
            }
            "self" => &names[1..],
            "super" => {
                let ups = names.iter().take_while(|name| *name == "super").count();
                from.truncate(from.len().checked_sub(ups)?);
                &names[ups..]
            }
            _ if self.0.contains_key(&[&module[..], std::slice::from_ref(first)].concat()) => names,
            _ => {
                let imported =
                    self.0.get(module)?.imports.get(first).filter(|imported| imported[..] != names[..1])?;
                return Some([self.absolute(module, imported)?, names[1..].to_vec()].concat());
            }
        };
        from.extend_from_slice(rest);
        Some(from)
    }

    fn resolve(&self, names: &[String], depth: usize) -> Option<&Module> {
        /// More re-exports of re-exports than anybody would write.
        const DEEPEST: usize = 8;
        let modules = (0..=names.len()).rev().find(|end| self.0.contains_key(&names[..*end]))?;
        let ((module, file), rest) = (self.0.get_key_value(&names[..modules])?, &names[modules..]);
        let name = rest.first().filter(|_| depth < DEEPEST)?;
        if let Some(imported) = file.imports.get(name) {
            let imported = self.absolute(module, imported)?;
            return self.resolve(&[&imported[..], &rest[1..]].concat(), depth + 1);
        }
        let from_globs = file.globs.iter().find_map(|glob| {
            let names = [&self.absolute(module, glob)?[..], rest].concat();
            self.resolve(&names, depth + 1)
        });
        from_globs.or(Some(module))
    }

    /// Groups of files each of which uses the others, perhaps by way of more.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&Module>> {
        let uses = self.uses();
        let reached = |from| {
            let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(module) = next.pop() {
                next.extend(uses[module].iter().filter(|used| reached.insert(**used)));
            }
            reached
        };
        let all: BTreeMap<_, _> = uses.keys().map(|module| (*module, reached(*module))).collect();
        let circles =
            all.iter().filter(|(module, reached)| reached.contains(**module)).map(|(module, reached)| {
                reached.iter().copied().filter(|other| all[*other].contains(*module)).collect::<BTreeSet<_>>()
            });
        circles.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl File {
    fn scan(&mut self, tokens: &[Token]) {
        let mut rest = tokens;
        while let Some(first) = rest.first() {
            rest = match first {
                Token::TestOnly(name) => {
                    self.test_modules.extend(name.clone());
                    &rest[1..]
                }
                Token::Name(name) if name == "use" => self.scan_use(&rest[1..], &[]),
                Token::Name(_) => {
                    let names: Names = path(rest);
                    let length = names.len() * 2 - 1;
                    if names.len() > 1 {
                        self.paths.insert(names);
                    }
                    &rest[length..]
                }
                _ => &rest[1..],
            };
        }
    }

    /// Reads one tree of a `use` declaration, and returns the tokens after it.
    fn scan_use<'t>(&mut self, tokens: &'t [Token], before: &[String]) -> &'t [Token] {
        let mut names = before.to_vec();
        let mut rest = tokens;
        loop {
            match rest {
                [Token::Open, ..] => {
                    rest = &rest[1..];
                    while !matches!(rest, [Token::Close, ..] | []) {
                        rest = self.scan_use(rest, &names);
                        if let [Token::Comma, ..] = rest {
                            rest = &rest[1..];
                        }
                    }
                    return rest.get(1..).unwrap_or_default();
                }
                [Token::Star, ..] => {
                    self.globs.push(names);
                    return &rest[1..];
                }
                [Token::Name(name), Token::Separator, ..] => {
                    names.push(name.clone());
                    rest = &rest[2..];
                }
                [Token::Name(name), ..] => {
                    if name != "self" {
                        names.push(name.clone());
                    }
                    rest = &rest[1..];
                    let mut known_as = names.last().cloned().unwrap_or_default();
                    if let [Token::Name(keyword), Token::Name(alias), ..] = rest
                        && keyword == "as"
                    {
                        known_as.clone_from(alias);
                        rest = &rest[2..];
                    }
                    self.imports.insert(known_as, names);
                    return rest;
                }
                _ => return rest,
            }
        }
    }
}

/// The names at the beginning of these tokens, as far as `::` joins them.
fn path(tokens: &[Token]) -> Names {
    let mut names = Vec::new();
    let mut rest = tokens;
    while let [Token::Name(name), ..] = rest {
        names.push(name.clone());
        match rest {
            [_, Token::Separator, Token::Name(_), ..] => rest = &rest[2..],
            _ => break,
        }
    }
    names
}

/// A token, as far as paths and declarations are made of it.
#[derive(Debug)]
enum Token {
    Name(String),
    /// `::`
    Separator,
    Star,
    Comma,
    Open,
    Close,
    Other,
    /// An item that only tests have; if it is a module in a file of its own, with its name.
    TestOnly(Option<String>),
}

/// All tokens, those in brackets and macros too. Items under `#[cfg(test)]` are one token each.
fn tokens(stream: TokenStream) -> Vec<Token> {
    let mut all = Vec::new();
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Ident(name) => all.push(Token::Name(name.to_string())),
            TokenTree::Literal(_) => all.push(Token::Other),
            TokenTree::Punct(mark) => match (mark.as_char(), trees.peek()) {
                (':', Some(TokenTree::Punct(next))) if next.as_char() == ':' => {
                    trees.next();
                    all.push(Token::Separator);
                }
                ('#', Some(TokenTree::Group(attribute)))
                    if attribute.stream().to_string() == "cfg (test)" =>
                {
                    trees.next();
                    all.push(Token::TestOnly(skip_item(&mut trees)));
                }
                ('*', _) => all.push(Token::Star),
                (',', _) => all.push(Token::Comma),
                _ => all.push(Token::Other),
            },
            TokenTree::Group(group) => {
                let is_braces = group.delimiter() == Delimiter::Brace;
                all.push(if is_braces { Token::Open } else { Token::Other });
                all.extend(tokens(group.stream()));
                all.push(if is_braces { Token::Close } else { Token::Other });
            }
        }
    }
    all
}

/// Skips to the end of an item, field or arm. Returns its name if it is a module in a file of its own.
fn skip_item(trees: &mut impl Iterator<Item = TokenTree>) -> Option<String> {
    let (mut is_module, mut name) = (false, None);
    for tree in trees {
        match tree {
            TokenTree::Ident(word) if word == "mod" => is_module = true,
            TokenTree::Ident(word) => name = Some(word.to_string()),
            TokenTree::Punct(mark) if mark.as_char() == ';' => return name.filter(|_| is_module),
            TokenTree::Punct(mark) if mark.as_char() == ',' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return None,
            _ => {}
        }
    }
    None
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
