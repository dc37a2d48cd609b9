//! A pattern as a complete DFA of bounded size: one look-up for each byte that it searches, whatever the pattern.

use std::collections::HashMap;

use regex_automata::dfa::dense::{self, DFA};
use regex_automata::dfa::{Automaton as _, StartKind};
use regex_automata::nfa::thompson::{self, NFA, State, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// Tells whether a pattern matches anywhere in a payload.
///
/// The table has a row for each state, and in it the next state for each class of bytes that the pattern does not
/// distinguish. A state is the index of its row, so that a step is one addition and one look-up.
pub(super) struct Automaton {
    /// The class of each byte.
    classes: [u8; 256],
    /// The class of the end of the payload, the last of each row.
    end: usize,
    start: u16,
    table: Box<[u16]>,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    pub matched: bool,
    /// The bytes that had to be read to know.
    pub bytes: usize,
}

/// Why there is no automaton of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAutomaton {
    TooLarge,
    /// A DFA cannot look back at a whole character.
    UnicodeWordBoundary,
}

/// No match can follow, or the pattern has matched: the rows of these two are never read.
const DEAD: u16 = 0;
const MATCHED: u16 = 1;

impl Automaton {
    /// Bytes of the NFA, of the DFA's sets of NFA states, and of the DFA while it is made. Together they bound the time
    /// to compile: with sets a third larger, the slowest of 7,000 random patterns took 120 ms on a busy host.
    const MAX_NFA: usize = 128 * 1024;
    const MAX_SETS: usize = 96 * 1024;
    const MAX_DFA: usize = 256 * 1024;
    /// NFA states that the compiler may visit for transitions without a byte.
    const MAX_VISITS: usize = 3_000_000;
    /// The table's largest length: its indices are 16 bits. 128 KiB, which stay in a core's own cache.
    const MAX_TABLE: usize = 1 << 16;

    pub(super) fn compile(pattern: &Hir) -> Result<Self, NoAutomaton> {
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(Self::MAX_NFA));
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(pattern);
        let nfa = nfa.map_err(|_| NoAutomaton::TooLarge)?;
        if nfa.look_set_any().contains_word_unicode() {
            return Err(NoAutomaton::UnicodeWordBoundary);
        }
        let closure = longest_closure(&nfa, Self::MAX_VISITS).ok_or(NoAutomaton::TooLarge)?;
        let transitions = Self::MAX_VISITS / closure;
        let config = dense::Config::new()
            .accelerate(false)
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(Self::MAX_DFA.min(transitions * size_of::<StateID>())))
            .determinize_size_limit(Some(Self::MAX_SETS));
        let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa);
        Self::of(&dfa.map_err(|_| NoAutomaton::TooLarge)?)
    }

    /// Copies what a search can reach before it knows the result.
    fn of(dfa: &DFA<Vec<u32>>) -> Result<Self, NoAutomaton> {
        let byte_classes = dfa.byte_classes();
        let units: Vec<_> = byte_classes.representatives(..).collect();
        let width = units.len();
        let (mut rows, mut found) = (HashMap::new(), Vec::new());
        let mut row_of = |state: StateID, found: &mut Vec<StateID>| {
            if dfa.is_dead_state(state) {
                return Ok(DEAD);
            }
            if dfa.is_match_state(state) {
                return Ok(MATCHED);
            }
            let row = *rows.entry(state).or_insert_with(|| {
                found.push(state);
                // Behind the two that have no row.
                (found.len() - 1) * width + 2
            });
            u16::try_from(row).map_err(|_| NoAutomaton::TooLarge)
        };
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::No));
        let start = row_of(start.map_err(|_| NoAutomaton::TooLarge)?, &mut found)?;
        let (mut table, mut next) = (vec![DEAD, MATCHED], 0);
        while let Some(&state) = found.get(next) {
            for unit in &units {
                let reached = match unit.as_u8() {
                    Some(byte) => dfa.next_state(state, byte),
                    None => dfa.next_eoi_state(state),
                };
                table.push(row_of(reached, &mut found)?);
            }
            next += 1;
        }
        if table.len() > Self::MAX_TABLE {
            return Err(NoAutomaton::TooLarge);
        }
        let classes = std::array::from_fn(|byte| byte_classes.get(u8::try_from(byte).unwrap_or(u8::MAX)));
        Ok(Self { classes, end: width - 1, start, table: table.into() })
    }

    pub(super) fn search(&self, payload: &[u8]) -> Search {
        let step = |state: u16, class: usize| self.table[usize::from(state) + class];
        let mut state = self.start;
        if state > MATCHED {
            for (at, byte) in payload.iter().enumerate() {
                state = step(state, usize::from(self.classes[usize::from(*byte)]));
                if state <= MATCHED {
                    return Search { matched: state == MATCHED, bytes: at + 1 };
                }
            }
            state = step(state, self.end);
        }
        Search { matched: state == MATCHED, bytes: payload.len() }
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.table)
    }
}

/// The most states that the compiler visits from one state without consuming a byte: what an empty part of a pattern,
/// repeated and nested, makes it do for each transition. None if it takes too many visits to learn that.
fn longest_closure(nfa: &NFA, max_visits: usize) -> Option<usize> {
    let states = nfa.states();
    let (mut visited_from, mut visits, mut longest) = (vec![usize::MAX; states.len()], 0, 1);
    let mut rest = Vec::new();
    for from in 0..states.len() {
        let before = visits;
        rest.push(from);
        while let Some(state) = rest.pop() {
            if std::mem::replace(&mut visited_from[state], from) == from {
                continue;
            }
            visits += 1;
            match &states[state] {
                State::Look { next, .. } | State::Capture { next, .. } => rest.push(next.as_usize()),
                State::Union { alternates } => rest.extend(alternates.iter().map(StateID::as_usize)),
                State::BinaryUnion { alt1, alt2 } => rest.extend([alt1.as_usize(), alt2.as_usize()]),
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Fail
                | State::Match { .. } => {}
            }
        }
        longest = longest.max(visits - before);
        if visits > max_visits {
            return None;
        }
    }
    Some(longest)
}
