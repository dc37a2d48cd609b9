//! The expected state of a membership, as simply as possible. The test passes the kernel's results to the model, not
//! their causes.

use super::kernel::{KernelState, NAMES};
use crate::control::JoinState;
use crate::control::events::EventKind;
use crate::model::{Family, InterfaceTable};

/// Which of the two interfaces to join, and which of the two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) interfaces: [bool; 2],
    pub(super) group: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NotThere,
    Gone,
    Down,
    NoList,
    Forgotten,
    Changing,
    Refused,
    ReplyAddress,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModelEntry {
    Joined { index: u32, forgotten: u32, hears: bool },
    Not(JoinState, Why),
}

/// State, whether it hears, and why not.
pub(super) type Shown = (JoinState, bool, Option<Why>);
pub(super) type Opens = Vec<(usize, Result<u32, i32>)>;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) target: Target,
    entries: [Option<ModelEntry>; 2],
    answers: bool,
    /// The reply socket is open.
    pub(super) replies_from: bool,
    can_reply: bool,
    pub(super) logged: u64,
    pub(super) received: [u64; 2],
    pub(super) events: Vec<(&'static str, Option<usize>)>,
    reported: [Option<(JoinState, bool)>; 2],
}

impl Model {
    pub(super) fn new(target: Target, answers: bool, table: &InterfaceTable, opens: Opens) -> Self {
        let mut model = Self {
            target,
            entries: [None; 2],
            answers,
            replies_from: answers,
            can_reply: true,
            logged: 0,
            received: [0; 2],
            events: Vec::new(),
            reported: [None; 2],
        };
        model.opened(table, opens, true);
        model.report();
        model
    }

    /// The first step of following the table. `forgotten`: interfaces where the kernel's lists lack the group.
    pub(super) fn follow(&mut self, table: &InterfaceTable, forgotten: [bool; 2]) {
        for nth in 0..2 {
            let Some(entry) = &mut self.entries[nth] else { continue };
            let Some(link) = table.by_name(NAMES[nth]) else {
                *entry = match *entry {
                    ModelEntry::Not(JoinState::Pending, _) => {
                        ModelEntry::Not(JoinState::Pending, Why::NotThere)
                    }
                    _ => ModelEntry::Not(JoinState::Lost, Why::Gone),
                };
                continue;
            };
            let has_list = link.takes_part_in(Family::V6);
            let why = if link.up { Why::NoList } else { Why::Down };
            let now = (link.index, link.list_generation[1]);
            *entry = match *entry {
                ModelEntry::Joined { index, forgotten: times, .. }
                    if has_list && (index, times) == now && !forgotten[nth] =>
                {
                    ModelEntry::Joined { index, forgotten: times, hears: link.up }
                }
                ModelEntry::Joined { .. } if has_list => ModelEntry::Not(JoinState::Lost, Why::Forgotten),
                ModelEntry::Joined { .. } => ModelEntry::Not(JoinState::Lost, why),
                ModelEntry::Not(state, _) if !has_list && state != JoinState::Failed => {
                    ModelEntry::Not(state, why)
                }
                entry @ ModelEntry::Not(..) => entry,
            };
        }
        self.report();
    }

    /// The second step: the results of opening where it is not joined.
    pub(super) fn join(
        &mut self,
        table: &InterfaceTable,
        opens: Opens,
        is_retry: bool,
        kernel: &KernelState,
    ) {
        self.opened(table, opens, is_retry);
        if self.answers {
            let is_known = table.interfaces.iter().any(|link| link.has(super::REPLY_ADDRESS));
            self.replies_from &= is_known || kernel.has_address();
            self.can_reply = self.prepare(table, kernel);
        }
        self.report();
    }

    /// Returns false if the PUT is refused.
    pub(super) fn put(
        &mut self,
        target: Target,
        table: &InterfaceTable,
        opens: Opens,
        could_reply: bool,
    ) -> bool {
        let stays = self.target.group == target.group;
        let there = exists_any(target, table);
        let refused = opens.iter().any(|(_, opened)| *opened == Err(libc::EMFILE));
        if refused || self.answers && !stays && there && !could_reply {
            self.replies_from |= self.answers && stays && there && could_reply;
            return false;
        }
        if self.answers {
            self.replies_from = there && could_reply || stays && self.replies_from;
            self.can_reply = !there || self.replies_from;
        }
        if self.target != target {
            self.events.push(("changed", None));
        }
        self.target = target;
        if !stays {
            (self.entries, self.logged, self.received) = ([None; 2], 0, [0; 2]);
        }
        for nth in 0..2 {
            if !target.interfaces[nth] {
                self.entries[nth] = None;
            }
        }
        self.opened(table, opens, true);
        self.report();
        true
    }

    pub(super) fn fail(&mut self) {
        for entry in self.entries.iter_mut().flatten() {
            *entry = ModelEntry::Not(JoinState::Failed, Why::Failed);
        }
        self.report();
    }

    /// Applies the results of the due opens, in the order in which the kernel was called.
    fn opened(&mut self, table: &InterfaceTable, opens: Opens, is_retry: bool) {
        let mut opens = opens.into_iter();
        for nth in (0..2).filter(|nth| self.target.interfaces[*nth]) {
            let link = table.by_name(NAMES[nth]);
            let (state, why) = match self.entries[nth] {
                Some(ModelEntry::Joined { .. }) => continue,
                Some(ModelEntry::Not(JoinState::Failed, _)) if !is_retry => continue,
                Some(ModelEntry::Not(state, why)) => (state, why),
                None => (JoinState::Pending, Why::NotThere),
            };
            let result = match link {
                None => Err(why),
                Some(link) if !link.takes_part_in(Family::V6) => {
                    Err(if link.up { Why::NoList } else { Why::Down })
                }
                Some(link) => {
                    let (opened_on, opened) = opens.next().expect("it is opened where it can be");
                    assert_eq!(opened_on, nth);
                    let joined = |index| ModelEntry::Joined {
                        index,
                        forgotten: link.list_generation[1],
                        hears: link.up,
                    };
                    opened.map(joined).map_err(|error| match error {
                        libc::ENODEV | libc::EINVAL => Why::Changing,
                        _ => Why::Refused,
                    })
                }
            };
            self.entries[nth] = Some(result.unwrap_or_else(|why| ModelEntry::Not(state, why)));
        }
        assert_eq!(opens.next(), None, "and nowhere else");
    }

    fn prepare(&mut self, table: &InterfaceTable, kernel: &KernelState) -> bool {
        let there = exists_any(self.target, table);
        self.replies_from |= there && kernel.has_address();
        !there || self.replies_from
    }

    pub(super) fn joined_on(&self, nth: usize) -> Option<u32> {
        match self.entries[nth] {
            Some(ModelEntry::Joined { index, .. }) => Some(index),
            _ => None,
        }
    }

    pub(super) fn shown(&self, nth: usize) -> Option<Shown> {
        Some(match self.entries[nth]? {
            ModelEntry::Joined { hears, .. } => {
                let state = if self.can_reply { JoinState::Joined } else { JoinState::Pending };
                let why =
                    if hears { (!self.can_reply).then_some(Why::ReplyAddress) } else { Some(Why::Down) };
                (state, hears, why)
            }
            ModelEntry::Not(state, why) => (state, false, Some(why)),
        })
    }

    fn report(&mut self) {
        for nth in 0..2 {
            let Some((state, hears, _)) = self.shown(nth) else { continue };
            let before = self.reported[nth].replace((state, hears));
            let heard = before.is_some_and(|(_, hears)| hears);
            let is_open = self.joined_on(nth).is_some();
            let mut implied = heard;
            if before.is_none_or(|(before, _)| before != state) {
                let (event, means) = match state {
                    JoinState::Joined => ("joined", true),
                    JoinState::Pending => ("pending", heard && is_open),
                    JoinState::Lost => ("lost", false),
                    JoinState::Failed => ("failed", false),
                };
                self.events.push((event, Some(nth)));
                implied = means;
            }
            match (implied, hears) {
                (true, false) if is_open => self.events.push(("not_hearing", Some(nth))),
                (false, true) => self.events.push(("hearing", Some(nth))),
                _ => {}
            }
        }
        for nth in 0..2 {
            if self.entries[nth].is_none() && self.reported[nth].take().is_some() {
                self.events.push(("left", Some(nth)));
            }
        }
    }
}

pub(super) fn name(event: &EventKind) -> &'static str {
    match event {
        EventKind::Joined => "joined",
        EventKind::Pending(_) => "pending",
        EventKind::Lost(_) => "lost",
        EventKind::Hearing => "hearing",
        EventKind::NotHearing(_) => "not_hearing",
        EventKind::Failed(_) => "failed",
        EventKind::Changed(_) => "changed",
        EventKind::Left => "left",
        _ => "another",
    }
}

pub(super) fn reason_of(reason: &str) -> Why {
    [
        ("no such interface", Why::NotThere),
        ("is gone", Why::Gone),
        ("is down", Why::Down),
        ("MTU", Why::NoList),
        ("forgotten", Why::Forgotten),
        ("is changing", Why::Changing),
        ("source address of replies", Why::ReplyAddress),
        ("internal error", Why::Failed),
    ]
    .into_iter()
    .find_map(|(text, why)| reason.contains(text).then_some(why))
    .unwrap_or(Why::Refused)
}

fn exists_any(target: Target, table: &InterfaceTable) -> bool {
    (0..2).any(|nth| target.interfaces[nth] && table.by_name(NAMES[nth]).is_some())
}
