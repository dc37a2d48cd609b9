//! The one part of compiling that a pattern's length does not bound well enough: where case is ignored, the translator
//! visits each character of each class such as `\pL`, and of all that is in brackets, once for each pair of brackets and
//! each operator around it.

use std::convert::Infallible;

use regex_syntax::ast::{
    Ast, ClassPerlKind, ClassSetBinaryOp, ClassSetItem, ClassSetRange, Flag, Visitor, visit,
};

/// Whether the translator has so few characters to visit that it is done in time.
pub(super) fn is_bounded(pattern: &Ast) -> bool {
    let Ok(folding) = visit(pattern, CaseFolding { depth: 0, characters: 0, ignores_case: false });
    !folding.ignores_case || folding.characters <= CaseFolding::MAX_CHARACTERS
}

struct CaseFolding {
    /// The number of brackets and operators around the current item.
    depth: usize,
    /// Characters to visit, if the whole pattern ignored case.
    characters: usize,
    ignores_case: bool,
}

impl CaseFolding {
    /// Measured: 30 ms.
    const MAX_CHARACTERS: usize = 5_000_000;
    const UNICODE: usize = 0x11_0000;
    /// More than the characters of `\w`.
    const WORDS: usize = 150_000;

    fn size(item: &ClassSetItem) -> usize {
        match item {
            ClassSetItem::Range(ClassSetRange { start, end, .. }) => {
                (u32::from(end.c).saturating_sub(u32::from(start.c))) as usize
            }
            ClassSetItem::Perl(class) if class.negated => Self::UNICODE,
            ClassSetItem::Perl(class) if class.kind == ClassPerlKind::Word => Self::WORDS,
            ClassSetItem::Unicode(_) => Self::UNICODE,
            _ => 1,
        }
    }
}

impl Visitor for CaseFolding {
    type Output = Self;
    type Err = Infallible;

    fn finish(self) -> Result<Self, Infallible> {
        Ok(self)
    }

    fn visit_pre(&mut self, part: &Ast) -> Result<(), Infallible> {
        let flags = match part {
            Ast::Flags(set) => Some(&set.flags),
            Ast::Group(group) => group.flags(),
            Ast::ClassUnicode(_) => {
                self.characters = self.characters.saturating_add(Self::UNICODE);
                None
            }
            _ => None,
        };
        let ignores_case = flags.and_then(|flags| flags.flag_state(Flag::CaseInsensitive));
        self.ignores_case |= ignores_case == Some(true);
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Infallible> {
        // The outermost brackets are no item.
        self.characters = self.characters.saturating_add(Self::size(item) * (self.depth + 1));
        self.depth += usize::from(matches!(item, ClassSetItem::Bracketed(_)));
        Ok(())
    }

    fn visit_class_set_item_post(&mut self, item: &ClassSetItem) -> Result<(), Infallible> {
        self.depth -= usize::from(matches!(item, ClassSetItem::Bracketed(_)));
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), Infallible> {
        self.depth += 1;
        Ok(())
    }

    fn visit_class_set_binary_op_post(&mut self, _: &ClassSetBinaryOp) -> Result<(), Infallible> {
        self.depth -= 1;
        Ok(())
    }
}
