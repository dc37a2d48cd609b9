//! The kernel's own lists of a host's memberships.

use std::net::{IpAddr, SocketAddr};

use super::Host;

impl Host {
    /// The number of sockets that are members of the group (`ADDRESS:PORT`) on this interface: `Users` in
    /// /proc/net/igmp and /proc/net/igmp6.
    #[track_caller]
    pub(crate) fn users(&self, interface: &str, group: &str) -> usize {
        match group.parse::<SocketAddr>().expect("a group").ip() {
            IpAddr::V4(group) => {
                // A word in host byte order, in the lines that follow the interface's.
                let group = format!("{:08X}", u32::from_ne_bytes(group.octets()));
                let list = self.read("/proc/net/igmp");
                let of_interface = list.lines().skip_while(|line| !is_about(line, interface)).skip(1);
                let mut groups = of_interface.take_while(|line| line.starts_with('\t'));
                groups.find_map(|line| line.trim_start().strip_prefix(&group)).map_or(0, first_number)
            }
            IpAddr::V6(group) => {
                let group = format!("{:032x}", group.to_bits());
                let list = self.read("/proc/net/igmp6");
                let mut of_interface = list.lines().filter(|line| is_about(line, interface));
                of_interface
                    .find_map(|line| line.split_once(&group))
                    .map_or(0, |(_, rest)| first_number(rest))
            }
        }
    }
}

/// Both lists begin with an index and a name.
fn is_about(line: &str, interface: &str) -> bool {
    !line.starts_with('\t') && line.split_whitespace().nth(1) == Some(interface)
}

fn first_number(text: &str) -> usize {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of users")
}
