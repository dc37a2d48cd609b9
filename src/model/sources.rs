//! Source filters.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Family, Group};

/// The source filter of a membership (RFC 3376 section 2, RFC 3810 section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFilter {
    /// Any source: (*,G), EXCLUDE with an empty list.
    Any,
    /// Only these: (S,G). Sorted, without repetition, not empty.
    Include(Vec<IpAddr>),
    /// All but these. Sorted, without repetition, not empty.
    Exclude(Vec<IpAddr>),
}

impl SourceFilter {
    pub fn include(group: &Group, sources: Vec<IpAddr>) -> Result<Self, SourceError> {
        let sources = legal_sources(group, sources)?;
        if sources.is_empty() {
            return Err(SourceError::IncludesNobody);
        }
        Ok(Self::Include(sources))
    }

    pub fn exclude(group: &Group, sources: Vec<IpAddr>) -> Result<Self, SourceError> {
        if group.is_source_specific() {
            return Err(SourceError::ExcludeOnSourceSpecific(*group));
        }
        let sources = legal_sources(group, sources)?;
        Ok(if sources.is_empty() { Self::Any } else { Self::Exclude(sources) })
    }

    pub fn any(group: &Group) -> Result<Self, SourceError> {
        if group.is_source_specific() {
            return Err(SourceError::SourceSpecificNeedsInclude(*group));
        }
        Ok(Self::Any)
    }

    /// How many sources the filter has in the kernel.
    pub fn len(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Include(sources) | Self::Exclude(sources) => sources.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn legal_sources(group: &Group, mut sources: Vec<IpAddr>) -> Result<Vec<IpAddr>, SourceError> {
    for (position, &source) in sources.iter().enumerate() {
        if Family::of(source) != group.family() {
            return Err(SourceError::OtherFamily {
                position,
                host: source,
                group: *group,
                family: group.family(),
            });
        }
        if source.is_multicast() || source.is_unspecified() {
            return Err(SourceError::NotUnicast { position, host: source });
        }
    }
    sources.sort_unstable();
    sources.dedup();
    Ok(sources)
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("{host} cannot be a source of {group}: name an {family} address")]
    OtherFamily { position: usize, host: IpAddr, group: Group, family: Family },
    #[error("{host} cannot be a source: name a host's own (unicast) address")]
    NotUnicast { position: usize, host: IpAddr },
    #[error(
        "an empty `include` matches no source: name at least one, or leave `sources` out to receive from all"
    )]
    IncludesNobody,
    #[error(
        "{0} is in a source-specific range (232.0.0.0/8, ff3x::/32), where `exclude` has no meaning: use `include`"
    )]
    ExcludeOnSourceSpecific(Group),
    #[error("{0} is in a source-specific range (232.0.0.0/8, ff3x::/32)")]
    SourceSpecificNeedsInclude(Group),
}

impl SourceError {
    /// The position of the wrong source in the list, if it is a single one.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::OtherFamily { position, .. } | Self::NotUnicast { position, .. } => Some(*position),
            _ => None,
        }
    }
}
