//! The interfaces that clients name.

use std::sync::Arc;

use super::error::{ControlError, Purpose, UnknownInterface};
use super::shared::Control;
use crate::model::{InterfaceRef, InterfaceTable, Interfaces};
use crate::net::InterfaceHealth;

/// The most interfaces that a refusal names.
const MOST_UNKNOWN: usize = 100;

/// The interfaces as the client named them: in `interfaces`, as the zone of the group, or the same in both.
#[derive(Debug, Clone, Default)]
pub struct InterfaceChoice {
    pub zone: Option<InterfaceRef>,
    pub named: Option<Vec<InterfaceRef>>,
}

impl Control {
    /// The kernel's current interfaces.
    pub async fn interfaces(&self) -> Result<Arc<InterfaceTable>, ControlError> {
        self.0.refreshed().await
    }

    /// Whether the service can follow the kernel's interface changes.
    pub fn interface_health(&self) -> InterfaceHealth {
        self.0.interfaces.health()
    }

    /// Resolves a client's choice to names. An interface that does not exist is refused, unless it is `allowed`.
    pub async fn resolve(
        &self,
        choice: &InterfaceChoice,
        purpose: Purpose,
        allowed: impl Fn(&str) -> bool,
    ) -> Result<Interfaces, ControlError> {
        let table = self.0.interfaces.table();
        match choice.resolve(&table, purpose, &allowed) {
            // The table may not yet have an interface that was created just now.
            Err(ControlError::UnknownInterfaces { .. }) => {
                let table = self.interfaces().await?;
                choice.resolve(&table, purpose, &allowed)
            }
            result => result,
        }
    }
}

impl InterfaceChoice {
    fn resolve(
        &self,
        table: &InterfaceTable,
        purpose: Purpose,
        allowed: &impl Fn(&str) -> bool,
    ) -> Result<Interfaces, ControlError> {
        let mut unknown = Vec::new();
        let mut name_of = |reference: &InterfaceRef, position| {
            let name = match reference {
                InterfaceRef::Name(name) => match table.by_name(name) {
                    Some(interface) => Some(interface.name.clone()),
                    None => allowed(name).then(|| Arc::from(&**name)),
                },
                InterfaceRef::Index(index) => table.by_index(*index).map(|interface| interface.name.clone()),
            };
            if name.is_none() && unknown.len() < MOST_UNKNOWN {
                unknown.push(UnknownInterface { reference: reference.clone(), position });
            }
            name
        };
        let zone = self.zone.as_ref().and_then(|zone| name_of(zone, None));
        let named = self.named.as_ref().map(|named| {
            let names = named.iter().enumerate();
            let names = names.filter_map(|(position, reference)| name_of(reference, Some(position)));
            names.collect::<Vec<_>>()
        });
        if !unknown.is_empty() {
            return Err(ControlError::UnknownInterfaces { unknown, purpose });
        }
        let Some(mut names) = named else {
            return Ok(zone.map_or(Interfaces::Default, |zone| Interfaces::Named(vec![zone])));
        };
        names.sort_unstable();
        names.dedup();
        match zone {
            Some(zone) if names != [zone.clone()] => Err(ControlError::ZoneDiffers { zone }),
            _ => Ok(Interfaces::Named(names)),
        }
    }
}
