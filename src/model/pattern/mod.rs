//! Regular expressions over payloads, whose cost for each byte does not depend on the expression.

mod advice;
mod automaton;
mod case_folding;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};

use regex_syntax::ast::parse::Parser;
use regex_syntax::hir::translate::TranslatorBuilder;
use serde::{Deserialize, Serialize};

use crate::sync::Lock;
pub use automaton::Search;
use automaton::{Automaton, NoAutomaton};

/// A regular expression as a complete DFA of bounded size. Clones, and patterns of the same text, share it.
///
/// Compiling takes up to 100 ms: do it where blocking is allowed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: String,
    automaton: Result<Automaton, PatternError>,
}

/// Why a pattern is refused, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("{0}")]
    Syntax(String),
    #[error("the pattern needs a table of more than 128 KiB, or too many steps to compile it, {0}")]
    TooLarge(String),
    #[error(
        "a word boundary of Unicode needs more than a look at each byte: write `(?-u:\\b)`, for which words are of ASCII letters, digits and `_`"
    )]
    UnicodeWordBoundary,
    #[error(
        "the pattern ignores the case of too many characters: use fewer classes such as `\\pL`, or write `(?-u)` in front, for ASCII alone"
    )]
    CaseFolding,
    #[error(
        "the patterns of all responders use the {max} bytes that they may: raise `--pattern-bytes` and start again, or delete responders, and then create this one again"
    )]
    Memory { max: usize },
}

/// The patterns in use, by their texts. Std lock: held for a look-up, an insertion or a removal.
static IN_USE: LazyLock<Mutex<HashMap<String, Weak<Compiled>>>> = LazyLock::new(Mutex::default);
static BYTES_IN_USE: AtomicUsize = AtomicUsize::new(0);

impl Pattern {
    pub fn new(text: String) -> Result<Self, PatternError> {
        let pattern = Self::from(text);
        pattern.check().map(|()| pattern.clone()).map_err(Clone::clone)
    }

    /// Why it is refused. A stored pattern may be one that an earlier version accepted; it matches nothing.
    pub fn check(&self) -> Result<(), &PatternError> {
        self.0.automaton.as_ref().map(drop)
    }

    /// Refuses the pattern if all of them use more memory than this.
    pub fn keep_within(&mut self, max: usize) {
        if Self::bytes_in_use() > max && self.check().is_ok() {
            let automaton = Err(PatternError::Memory { max });
            *self = Self(Arc::new(Compiled { text: self.as_str().to_owned(), automaton }.counted()));
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches anywhere in the payload.
    pub fn search(&self, payload: &[u8]) -> Search {
        match &self.0.automaton {
            Ok(automaton) => automaton.search(payload),
            Err(_) => Search { matched: false, bytes: 0 },
        }
    }

    /// Bytes of memory that all patterns of the process use.
    pub fn bytes_in_use() -> usize {
        BYTES_IN_USE.load(Ordering::Relaxed)
    }
}

/// Refused ones too: [`check`](Pattern::check) tells.
impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let in_use = IN_USE.lock_shared().get(&text).and_then(Weak::upgrade);
        Self(in_use.unwrap_or_else(|| Compiled::new(text).shared()))
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pattern").field(&self.as_str()).finish()
    }
}

/// Patterns are equal if their texts are.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Compiled {
    fn new(text: String) -> Self {
        Self { automaton: compile(&text), text }.counted()
    }

    fn counted(self) -> Self {
        BYTES_IN_USE.fetch_add(self.size(), Ordering::Relaxed);
        self
    }

    /// The one of this text that is in use already, or this one.
    fn shared(self) -> Arc<Self> {
        let compiled = Arc::new(self);
        let mut in_use = IN_USE.lock_shared();
        if let Some(earlier) = in_use.get(&compiled.text).and_then(Weak::upgrade) {
            // The other one ends after the lock, which its end takes.
            drop(in_use);
            return earlier;
        }
        in_use.insert(compiled.text.clone(), Arc::downgrade(&compiled));
        compiled
    }

    /// Bytes of memory, with both copies of the text.
    fn size(&self) -> usize {
        size_of::<Self>() + 2 * self.text.len() + self.automaton.as_ref().map_or(0, Automaton::size)
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        BYTES_IN_USE.fetch_sub(self.size(), Ordering::Relaxed);
        let mut in_use = IN_USE.lock_shared();
        if in_use.get(&self.text).is_some_and(|compiled| compiled.strong_count() == 0) {
            in_use.remove(&self.text);
        }
    }
}

fn compile(text: &str) -> Result<Automaton, PatternError> {
    let syntax = |what: String, at: usize| {
        let bytes = if at == 1 { "byte" } else { "bytes" };
        let fact = format!("the pattern is not a regular expression: {what}, after {at} {bytes}");
        PatternError::Syntax(format!("{fact}; to match a plain text, write `exact` or `prefix`"))
    };
    let parsed = Parser::new().parse(text);
    let parsed = parsed.map_err(|error| syntax(error.kind().to_string(), error.span().start.offset))?;
    if !case_folding::is_bounded(&parsed) {
        return Err(PatternError::CaseFolding);
    }
    let mut translator = TranslatorBuilder::new().utf8(false).build();
    let pattern = translator.translate(text, &parsed);
    let pattern = pattern.map_err(|error| syntax(error.kind().to_string(), error.span().start.offset))?;
    Automaton::compile(&pattern).map_err(|error| match error {
        NoAutomaton::TooLarge => PatternError::TooLarge(advice::on(&pattern)),
        NoAutomaton::UnicodeWordBoundary => PatternError::UnicodeWordBoundary,
    })
}

#[cfg(test)]
mod tests;
