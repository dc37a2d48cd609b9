//! The kernel's own lists of joined groups and source filters: /proc/net/igmp, igmp6, mcfilter and mcfilter6.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Groups that sockets of this network namespace have joined, by interface. Sockets of other programs count too.
///
/// The kernel returns a long list in pieces: if groups are joined or left meanwhile, one may be missing from the list,
/// so a loss counts only once it is seen twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelGroups {
    users: HashMap<(u32, IpAddr), u32>,
    /// Interfaces with groups, in the kernel's order: of IPv4, and of IPv6.
    interfaces: [Vec<u32>; 2],
    sources: HashMap<(u32, IpAddr, IpAddr), SourceUsers>,
    /// The first interface in the list of sources: of IPv4, and of IPv6.
    first_with_sources: [Option<u32>; 2],
}

/// How many sockets have a source in their filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct SourceUsers {
    including: u32,
    excluding: u32,
}

/// Index of each family in the fields of [`KernelGroups`].
const V4: usize = 0;
const V6: usize = 1;

impl KernelGroups {
    /// Reads all four lists: milliseconds for thousands of groups, so not to be called in a task that others wait for.
    pub fn read() -> io::Result<Self> {
        let mut groups = Self::default();
        groups.add_igmp(&list("igmp")?);
        groups.add_igmp6(&list("igmp6")?);
        groups.add_filters(V4, &list("mcfilter")?, read_ipv4_filter);
        groups.add_filters(V6, &list("mcfilter6")?, read_ipv6);
        Ok(groups)
    }

    /// How many sockets are joined to the group on this interface, with any source filter.
    pub fn users(&self, interface_index: u32, group: IpAddr) -> u32 {
        self.users.get(&(interface_index, group)).copied().unwrap_or(0)
    }

    /// Whether fewer sockets than this have the source of the group in an INCLUDE filter; false if the list does not
    /// say.
    pub fn lacks_included(&self, interface_index: u32, group: IpAddr, source: IpAddr, sockets: u32) -> bool {
        self.lists_sources(interface_index, group)
            && self.of_source(interface_index, group, source).including < sockets
    }

    /// Whether fewer sockets than this have the source of the group in an EXCLUDE filter; false if the list does not
    /// say.
    pub fn lacks_excluded(&self, interface_index: u32, group: IpAddr, source: IpAddr, sockets: u32) -> bool {
        self.lists_sources(interface_index, group)
            && self.of_source(interface_index, group, source).excluding < sockets
    }

    /// The kernel's list of sources begins with the first interface whose latest group has sources: it leaves out all
    /// sources on the interfaces before that (`igmp_mcf_get_first`, `igmp6_mcf_get_first`).
    fn lists_sources(&self, interface_index: u32, group: IpAddr) -> bool {
        let family = usize::from(group.is_ipv6());
        let position = |index: u32| self.interfaces[family].iter().position(|known| *known == index);
        let first = self.first_with_sources[family].and_then(position);
        first.is_some_and(|first| position(interface_index).is_some_and(|at| at >= first))
    }

    fn of_source(&self, interface_index: u32, group: IpAddr, source: IpAddr) -> SourceUsers {
        self.sources.get(&(interface_index, group, source)).copied().unwrap_or_default()
    }

    /// A line for each interface, and below it an indented one for each group (`igmp_mc_seq_show`).
    fn add_igmp(&mut self, list: &str) {
        let mut interface = None;
        for line in list.lines() {
            let mut words = line.split_ascii_whitespace();
            if !line.starts_with(|first: char| first.is_ascii_whitespace()) {
                interface = words.next().and_then(|index| index.parse().ok());
                self.interfaces[V4].extend(interface);
                continue;
            }
            let entry =
                (|| Some((interface?, read_ipv4(words.next()?)?, words.next()?.parse::<u32>().ok()?)))();
            if let Some((interface, group, users)) = entry {
                *self.users.entry((interface, group)).or_default() += users;
            }
        }
    }

    /// A line for each group (`igmp6_mc_seq_show`).
    fn add_igmp6(&mut self, list: &str) {
        for line in list.lines() {
            let mut words = line.split_ascii_whitespace();
            let entry = (|| {
                let (interface, _name) = (words.next()?.parse().ok()?, words.next()?);
                Some((interface, read_ipv6(words.next()?)?, words.next()?.parse::<u32>().ok()?))
            })();
            if let Some((interface, group, users)) = entry {
                if self.interfaces[V6].last() != Some(&interface) {
                    self.interfaces[V6].push(interface);
                }
                *self.users.entry((interface, group)).or_default() += users;
            }
        }
    }

    /// A line for each source of a group (`igmp_mcf_seq_show`, `igmp6_mcf_seq_show`).
    fn add_filters(&mut self, family: usize, list: &str, read_ip: fn(&str) -> Option<IpAddr>) {
        for line in list.lines() {
            let mut words = line.split_ascii_whitespace();
            let entry = (|| {
                let (interface, _name) = (words.next()?.parse().ok()?, words.next()?);
                let (group, source) = (read_ip(words.next()?)?, read_ip(words.next()?)?);
                let (including, excluding) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                Some(((interface, group, source), SourceUsers { including, excluding }))
            })();
            if let Some(((interface, ..), _)) = entry {
                self.first_with_sources[family].get_or_insert(interface);
            }
            self.sources.extend(entry);
        }
    }
}

#[cfg(test)]
impl KernelGroups {
    /// Lists that the kernel might have given.
    pub(crate) fn of(users: HashMap<(u32, IpAddr), u32>) -> Self {
        Self { users, ..Self::default() }
    }
}

/// Empty where the kernel does not know the protocol.
fn list(name: &str) -> io::Result<String> {
    match fs::read(format!("/proc/net/{name}")) {
        // Names of interfaces may have any bytes.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The form in `igmp`: the octets in memory order, read as one number.
fn read_ipv4(word: &str) -> Option<IpAddr> {
    let number = u32::from_str_radix(word, 16).ok()?;
    Some(Ipv4Addr::from(number.to_ne_bytes()).into())
}

/// The form in `mcfilter`: `0xef010203`.
fn read_ipv4_filter(word: &str) -> Option<IpAddr> {
    let number = u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
    Some(Ipv4Addr::from(number).into())
}

/// 32 hexadecimal digits.
fn read_ipv6(word: &str) -> Option<IpAddr> {
    let number = u128::from_str_radix(word, 16).ok().filter(|_| word.len() == 32)?;
    Some(Ipv6Addr::from(number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Linux 6.18 on x86-64, with malformed lines added.
    const IGMP: &str = "\
Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
3\tv0        :     3      V3
\t\t\t\t040201EF     1 0:00000000\t\t0
\t\t\t\t030201EF     2 0:00000000\t\t0
\t\t\t\tshort

4\tvery-long-name:     1      V3
\t\t\t\t030201EF     7 1:0000002A\t\t1
?\twhat
\t\t\t\t030201EF     9 0:00000000\t\t0
";
    const IGMP6: &str = "\
1    lo              ff020000000000000000000000000001     1 0000000C 0
3    v0              ff150000000000000000000000000002     2 00000004 0
3    v0              ff15     2 00000004 0
4    very-long-name  ff150000000000000000000000000002    12 00000004 0
";
    const FILTER: &str = "\
Idx Device        MCA        SRC    INC    EXC
  3     v0 0xef010204 0x0a000008      0      1
  3     v0 0xef010203 0x0a000009      2      0
123 very-l 0xef010203 0x0a000009      5      6
  3     v0 0xef010203
";
    const FILTER6: &str = "\
Idx Device                Multicast Address                   Source Address    INC    EXC
  3     v0 ff150000000000000000000000000002 fd000000000000000000000000000008      0      1
  3     v0 ff150000000000000000000000000001 fd000000000000000000000000000009      1      0
";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_lists_give_the_users_of_each_group() {
        let mut groups = KernelGroups::default();
        groups.add_igmp(IGMP);
        groups.add_igmp6(IGMP6);
        for (index, group, users) in [
            (1, "224.0.0.1", 1),
            (3, "239.1.2.4", 1),
            (3, "239.1.2.3", 2),
            (4, "239.1.2.3", 7),
            (1, "239.1.2.3", 0),
            (1, "ff02::1", 1),
            (3, "ff15::2", 2),
            (4, "ff15::2", 12),
            (4, "ff15::3", 0),
        ] {
            assert_eq!(groups.users(index, ip(group)), users, "{group} on {index}");
        }
        assert_eq!(groups.users.len(), 7);
    }

    #[test]
    fn the_lists_give_the_users_of_each_source() {
        let mut groups = KernelGroups::default();
        groups.add_filters(V4, FILTER, read_ipv4_filter);
        groups.add_filters(V6, FILTER6, read_ipv6);
        for (index, group, source, users) in [
            (3, "239.1.2.4", "10.0.0.8", (0, 1)),
            (3, "239.1.2.3", "10.0.0.9", (2, 0)),
            (123, "239.1.2.3", "10.0.0.9", (5, 6)),
            (4, "239.1.2.3", "10.0.0.9", (0, 0)),
            (3, "ff15::2", "fd00::8", (0, 1)),
            (3, "ff15::1", "fd00::9", (1, 0)),
        ] {
            let (group, source) = (ip(group), ip(source));
            let SourceUsers { including, excluding } = groups.of_source(index, group, source);
            assert_eq!((including, excluding), users, "{group} from {source} on {index}");
        }
        assert_eq!(groups.sources.len(), 5);
    }

    #[test]
    fn the_list_of_sources_says_nothing_of_interfaces_before_its_first() {
        let mut groups = KernelGroups::default();
        groups.add_igmp(IGMP);
        let lacks = |groups: &KernelGroups, index, sockets| {
            groups.lacks_included(index, ip("239.1.2.3"), ip("10.0.0.9"), sockets)
        };
        assert!([1, 3, 4].iter().all(|index| !lacks(&groups, *index, 1)), "the list is empty");

        groups.add_filters(V4, FILTER, read_ipv4_filter);
        assert!(!lacks(&groups, 1, 1), "lo comes before v0");
        assert!(!lacks(&groups, 3, 2) && lacks(&groups, 3, 3), "v0 is the first");
        assert!(lacks(&groups, 4, 1), "it comes after v0");
        assert!(!groups.lacks_excluded(3, ip("239.1.2.4"), ip("10.0.0.8"), 1));
        assert!(groups.lacks_excluded(3, ip("239.1.2.4"), ip("10.0.0.8"), 2));
    }

    #[test]
    fn this_host_is_in_the_group_of_all_hosts() {
        let groups = KernelGroups::read().unwrap();
        assert!(groups.users(1, ip("224.0.0.1")) > 0);
    }
}
