//! The interfaces that clients name.

use std::sync::Arc;

use super::error::{ControlError, Purpose};
use super::shared::Control;
use crate::model::{InterfaceRef, InterfaceTable, Interfaces};
use crate::net::InterfaceHealth;

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
            Err(ControlError::UnknownInterface { .. }) => {
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
        let name_of = |reference: &InterfaceRef, position| match reference {
            InterfaceRef::Name(name) => match table.by_name(name) {
                Some(interface) => Ok(interface.name.clone()),
                None if allowed(name) => Ok(Arc::from(&**name)),
                None => Err(ControlError::UnknownInterface { name: name.clone(), position, purpose }),
            },
            InterfaceRef::Index(index) => {
                let named = table.by_index(*index).map(|interface| interface.name.clone());
                let name = || format!("index {index}");
                named.ok_or_else(|| ControlError::UnknownInterface { name: name(), position, purpose })
            }
        };
        let zone = self.zone.as_ref().map(|zone| name_of(zone, None)).transpose()?;
        let Some(named) = &self.named else {
            return Ok(zone.map_or(Interfaces::Default, |zone| Interfaces::Named(vec![zone])));
        };
        let mut names = named
            .iter()
            .enumerate()
            .map(|(position, reference)| name_of(reference, Some(position)))
            .collect::<Result<Vec<_>, _>>()?;
        names.sort_unstable();
        names.dedup();
        match zone {
            Some(zone) if names != [zone.clone()] => Err(ControlError::ZoneDiffers { zone }),
            _ => Ok(Interfaces::Named(names)),
        }
    }
}
