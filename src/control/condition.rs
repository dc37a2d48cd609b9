//! Conditions on the revision of a resource, which a request sets for its change.

use super::error::ControlError;
use super::resource_kind::ResourceKind;
use crate::model::{Id, Revision};

/// What has to hold for a request to change a resource. It is checked where the change is made, so that no other change
/// comes in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The resource exists, at one of these revisions.
    pub at: Option<Revisions>,
    /// The resource is not at one of these revisions, or does not exist.
    pub not_at: Option<Revisions>,
}

/// Some revisions of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revisions {
    Any,
    OneOf(Vec<Revision>),
}

impl Condition {
    pub const NONE: Self = Self { at: None, not_at: None };
    /// The resource does not exist yet.
    pub const ONLY_CREATE: Self = Self { at: None, not_at: Some(Revisions::Any) };

    pub fn at(revision: Revision) -> Self {
        Self { at: Some(Revisions::OneOf(vec![revision])), not_at: None }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Checks the condition for a resource at this revision; none: it does not exist.
    pub fn check(&self, kind: ResourceKind, id: &Id, revision: Option<Revision>) -> Result<(), ControlError> {
        let is_among = |revisions: &Revisions| revision.is_some_and(|revision| revisions.contain(revision));
        let id = || id.clone();
        match (&self.at, &self.not_at) {
            (Some(at), _) if !is_among(at) => Err(ControlError::OtherRevision { kind, id: id(), revision }),
            (_, Some(Revisions::Any)) if revision.is_some() => Err(ControlError::Exists { kind, id: id() }),
            (_, Some(not_at)) if is_among(not_at) => {
                Err(ControlError::OtherRevision { kind, id: id(), revision })
            }
            _ => Ok(()),
        }
    }
}

impl Revisions {
    fn contain(&self, revision: Revision) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(revisions) => revisions.contains(&revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_condition_holds_for_the_right_revisions() {
        let first = Revision::first(Timestamp(1));
        let second = first.next(Timestamp(2));
        let some = |revisions: &[Revision]| Some(Revisions::OneOf(revisions.to_vec()));
        let any = Some(Revisions::Any);
        // For no resource, for one at the first revision, and for one at the second.
        for (at, not_at, expected) in [
            (None, None, [true, true, true]),
            (any.clone(), None, [false, true, true]),
            (some(&[second]), None, [false, false, true]),
            (some(&[first, second]), None, [false, true, true]),
            (some(&[]), None, [false, false, false]),
            (None, any.clone(), [true, false, false]),
            (None, some(&[first]), [true, false, true]),
            (None, some(&[]), [true, true, true]),
            (any.clone(), any, [false, false, false]),
        ] {
            let condition = Condition { at, not_at };
            let id = Id::generate();
            let holds = |revision| condition.check(ResourceKind::Membership, &id, revision).is_ok();
            assert_eq!([None, Some(first), Some(second)].map(holds), expected, "{condition:?}");
        }
    }
}
