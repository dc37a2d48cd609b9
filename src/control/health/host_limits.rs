//! Checks of what this host lets the service do: low ports, receive buffers, and the sources of a membership (IGMP and
//! MLD).

use super::HealthCheck;
use crate::control::shared::Control;
use crate::model::{Family, limits};
use crate::net::host_limits;

impl Control {
    /// Checks of the process's rights and the host's settings. They give warnings at most.
    pub fn rights(&self) -> [HealthCheck; 3] {
        [low_ports(), receive_buffers(self.0.settings.receive_buffer), source_filters()]
    }
}

fn low_ports() -> HealthCheck {
    const NAME: &str = "rights.low_ports";
    match host_limits::lowest_bindable_port() {
        Ok(1) => HealthCheck::ok(NAME, "groups on all ports can be joined"),
        Ok(lowest) => HealthCheck::warning(
            NAME,
            format!(
                "no groups on ports below {lowest}: they need CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start"
            ),
        ),
        Err(error) => HealthCheck::warning(NAME, format!("cannot be determined: {error}")),
    }
}

fn receive_buffers(requested: usize) -> HealthCheck {
    const NAME: &str = "rights.receive_buffers";
    match host_limits::receive_buffer(requested) {
        Ok(size) if size.granted >= size.requested => {
            HealthCheck::ok(NAME, format!("sockets get the {requested} bytes that are requested"))
        }
        Ok(size) => HealthCheck::warning(
            NAME,
            format!(
                "sockets get {} of the {requested} bytes that are requested, and lose datagrams in shorter bursts: raise net.core.rmem_max, or give CAP_NET_ADMIN",
                size.granted
            ),
        ),
        Err(error) => HealthCheck::warning(NAME, format!("cannot be determined: {error}")),
    }
}

fn source_filters() -> HealthCheck {
    const NAME: &str = "rights.source_filters";
    let [v4, v6] = [Family::V4, Family::V6].map(host_limits::max_sources);
    let detail = format!("a membership can name {v4} sources in IPv4 and {v6} in IPv6");
    if v4.min(v6) < limits::SOURCES {
        return HealthCheck::warning(
            NAME,
            format!(
                "{detail}: for up to {} raise net.ipv4.igmp_max_msf, net.ipv6.mld_max_msf and net.core.optmem_max",
                limits::SOURCES
            ),
        );
    }
    HealthCheck::ok(NAME, detail)
}
