//! What makes a pattern large, and what to write instead.

use std::convert::Infallible;

use regex_syntax::hir::{Class, Hir, HirKind, Visitor, visit};

/// The part of the pattern that makes it large, and what to do about it.
pub(super) fn on(pattern: &Hir) -> String {
    let Ok(parts) = visit(pattern, LargeParts::default());
    let mut advice = Vec::new();
    if let Some(times) = parts.times.filter(|times| *times >= LargeParts::MANY) {
        advice.push(format!("`{{{times}}}` repeats a part that often: use `+` or `*`, or a lower number"));
    }
    if parts.classes > 0 {
        advice.push(
            "classes such as `\\w` and `\\d` stand for those of all of Unicode: write `(?-u)` in front, or list what may come, as in `[0-9A-Za-z]`"
                .to_owned(),
        );
    }
    if parts.folded >= LargeParts::MANY_FOLDED {
        advice.push(format!(
            "it ignores the case of {} letters, each of which takes several times the table of one that does not: write `(?i)` only around a few of them, or `(?i-u)` for ASCII alone",
            parts.folded
        ));
    }
    if parts.alternatives >= LargeParts::MANY_ALTERNATIVES {
        advice.push(format!(
            "it lists {} alternatives: spread them over several responders",
            parts.alternatives
        ));
    }
    if advice.is_empty() {
        advice.push(
            "parts that may be left out or match at many places, such as `a?` and `.*`, multiply each other: use fewer of them, or begin with `^`"
                .to_owned(),
        );
    }
    format!("because {}", advice.join("; and "))
}

#[derive(Default)]
struct LargeParts {
    /// The highest number of a counted repetition.
    times: Option<u32>,
    /// Classes with characters of many scripts.
    classes: usize,
    /// Letters of which the case is ignored.
    folded: usize,
    /// The length of the longest list of alternatives.
    alternatives: usize,
}

impl LargeParts {
    const MANY: u32 = 8;
    const MANY_ALTERNATIVES: usize = 32;
    const MANY_FOLDED: usize = 32;
    /// Ranges of characters; `\s` has 10, `\d` 71.
    const MANY_RANGES: usize = 20;
}

impl Visitor for LargeParts {
    type Output = Self;
    type Err = Infallible;

    fn finish(self) -> Result<Self, Infallible> {
        Ok(self)
    }

    fn visit_pre(&mut self, part: &Hir) -> Result<(), Infallible> {
        match part.kind() {
            HirKind::Repetition(repetition) => {
                self.times = self.times.max(repetition.max.max(Some(repetition.min)));
            }
            HirKind::Class(Class::Unicode(class)) => {
                self.classes += usize::from(class.ranges().len() > Self::MANY_RANGES);
                // `k` and the sign of the kelvin fold to three.
                let is_folded = (2..=4).contains(&class.ranges().len())
                    && class.ranges().iter().all(|range| range.start() == range.end());
                self.folded += usize::from(is_folded);
            }
            HirKind::Alternation(all) => self.alternatives = self.alternatives.max(all.len()),
            _ => {}
        }
        Ok(())
    }
}
