//! How the values of arguments are written.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::{EnumValueParser, TypedValueParser};

use crate::config::Quantity;
use crate::http::RequireToken;
use crate::logging::{FilterError, LogFilter, LogFormat};
use crate::server::Listen;

pub(super) const ANY: RangeInclusive<u64> = 0..=u64::MAX;

/// A number of things.
pub(super) fn count(bounds: RangeInclusive<u32>) -> impl TypedValueParser<Value = u32> {
    let bounds = u64::from(*bounds.start())..=u64::from(*bounds.end());
    move |text: &str| {
        let number = Quantity::Count.parse(text, &bounds)?;
        u32::try_from(number).map_err(|error| error.to_string())
    }
}

/// The same beyond 32 bits.
pub(super) fn large_count(bounds: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    move |text: &str| Quantity::Count.parse(text, &bounds)
}

/// A number of bytes, or with a unit.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    move |text: &str| Quantity::Bytes.parse(text, &bounds)
}

/// A number of milliseconds, or with a unit.
pub(super) fn milliseconds(bounds: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    move |text: &str| Quantity::Milliseconds.parse(text, &bounds)
}

/// A number of microseconds, or with a unit.
pub(super) fn microseconds(bounds: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    move |text: &str| Quantity::Microseconds.parse(text, &bounds)
}

/// A value that is never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("name the socket: unix:/run/rollcall.sock".to_owned());
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = named.as_deref().unwrap_or(text).parse::<SocketAddr>();
        address.map(Self::Tcp).map_err(|_| listen_advice(text))
    }
}

/// What to write instead.
fn listen_advice(text: &str) -> String {
    if let Some((address, port)) = text.rsplit_once(':')
        && let (Ok(address), Ok(port)) = (address.parse::<Ipv6Addr>(), port.parse::<u16>())
    {
        return format!("write an IPv6 address in brackets, as in [{address}]:{port}");
    }
    if text.eq_ignore_ascii_case("localhost") {
        return "name the port, too, as in localhost:8080".to_owned();
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return format!("name the port, too, as in {}", SocketAddr::new(address, 8_080));
    }
    let is_port = |text: &&str| text.parse::<u16>().is_ok();
    let is_address = |host: &str| format!("{host}:0").parse::<SocketAddr>().is_ok() || host == "localhost";
    let without = |prefix, text| str::strip_prefix(text, prefix).unwrap_or(text);
    if let Some(port) = Some(without(':', without('*', text))).filter(is_port) {
        return format!(
            "name the address, too: 127.0.0.1:{port} for programs on this host, or 0.0.0.0:{port} or [::]:{port} for other hosts as well"
        );
    }
    if text.starts_with('/') {
        return format!("write unix:{text} for a socket at this path");
    }
    match text.rsplit_once(':') {
        Some((host, port)) if is_address(host) && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("a port is a number up to 65535, as in {host}:8080")
        }
        Some((host, port)) if is_port(&port) && !host.contains(['/', ':']) => {
            format!("names are not looked up, but for localhost: write an address as in 127.0.0.1:{port}")
        }
        _ => "use ADDRESS:PORT as in 127.0.0.1:8080, or unix:PATH".to_owned(),
    }
}

/// The names of [`RequireToken`].
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RequireTokenName {
    /// Clients over TCP beyond loopback.
    Remote,
    /// All clients, also over loopback and unix sockets; for a service behind a proxy.
    Always,
}

impl From<RequireTokenName> for RequireToken {
    fn from(name: RequireTokenName) -> Self {
        match name {
            RequireTokenName::Remote => Self::Remote,
            RequireTokenName::Always => Self::Always,
        }
    }
}

/// The names of [`LogFormat`].
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum LogFormatName {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    /// An object in each line.
    Json,
}

impl From<LogFormatName> for LogFormat {
    fn from(name: LogFormatName) -> Self {
        match name {
            LogFormatName::Auto => Self::Auto,
            LogFormatName::Text => Self::Text,
            LogFormatName::Json => Self::Json,
        }
    }
}

/// Accepts the names of `N`, for a value that does not know the command line.
pub(super) fn one_of<
    N: ValueEnum + Clone + Send + Sync + 'static,
    T: From<N> + Clone + Send + Sync + 'static,
>() -> impl TypedValueParser<Value = T> {
    EnumValueParser::<N>::new().map(T::from)
}

pub(super) fn log_filter(text: &str) -> Result<String, FilterError> {
    LogFilter::check(text).map(|()| text.to_owned())
}

pub(super) fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = digits.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.ok_or_else(|| "use three octal digits as in 660".to_owned())
}
