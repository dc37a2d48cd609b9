//! Which arguments help when the service cannot start or an export fails.

use std::error::Error;
use std::io::ErrorKind;

use super::layers::Layers;
use crate::config::{ConfigError, name_in_file, rename_flags};
use crate::contract::configuration::SettingSource;
use crate::control::ControlStartError;
use crate::export::ExportError;
use crate::server::StartError;
use crate::store::DiskError;

/// The error, and what to change.
pub fn with_hint(error: &(dyn Error + 'static)) -> String {
    let of_start = error.downcast_ref().and_then(of_start);
    let of_export = || error.downcast_ref().and_then(of_export);
    let of_disk = || error.downcast_ref().and_then(of_disk);
    match of_start.or_else(of_export).or_else(of_disk) {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    }
}

/// The same in the words of the layer that the setting comes from.
pub fn as_mistake(error: &StartError, layers: &Layers) -> ConfigError {
    let setting = match error {
        StartError::NotLoopback(_)
        | StartError::NoListener
        | StartError::Twice { .. }
        | StartError::Tcp(..)
        | StartError::Unix { .. }
        | StartError::TcpInUse { .. }
        | StartError::UnixInUse { .. } => "listen",
        StartError::TokensUnused => "allow_anonymous",
        StartError::NoTokens => "require_token",
        StartError::Core(ControlStartError::Store(_)) => "data_dir",
        StartError::Core(ControlStartError::Network(_)) => "",
    };
    let (source, detail) = (layers.settings.get(setting).map(|setting| setting.source), with_hint(error));
    let of_variable = |flag: &str| format!("ROLLCALL_{}", name_in_file(flag).to_uppercase());
    let (place, detail) = match (source, &layers.file.path) {
        (Some(SettingSource::File), Some(path)) => {
            (path.display().to_string(), rename_flags(&detail, name_in_file))
        }
        (Some(SettingSource::Environment), _) => (of_variable(setting), rename_flags(&detail, of_variable)),
        _ => (String::new(), detail),
    };
    ConfigError { place, line: None, detail }
}

fn of_start(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::NotLoopback(_) => Some(
            "listen on 127.0.0.1 or a unix socket, require tokens with --tokens-file, or add --allow-anonymous if the network is trusted",
        ),
        StartError::NoListener => Some("name one or a unix socket with --listen, or leave --listen out"),
        StartError::Twice { .. } => Some("leave out one of them in --listen"),
        StartError::TokensUnused => Some("leave out --tokens-file or --allow-anonymous"),
        StartError::NoTokens => {
            Some("name a file of tokens with --tokens-file, or leave out --require-token")
        }
        StartError::Core(ControlStartError::Store(error)) => of_disk(error),
        StartError::TcpInUse { .. } => {
            Some("stop that process, or name another address or port with --listen, as in 127.0.0.1:8081")
        }
        StartError::UnixInUse { .. } => Some("stop that process, or name another path with --listen"),
        StartError::Tcp(_, error) => match error.kind() {
            ErrorKind::AddrNotAvailable => {
                Some("name an address of this host with --listen; `ip addr` shows them")
            }
            ErrorKind::PermissionDenied => {
                Some("name a port of 1024 or higher with --listen, or run with CAP_NET_BIND_SERVICE")
            }
            _ => None,
        },
        StartError::Core(ControlStartError::Network(_)) | StartError::Unix { .. } => None,
    }
}

fn of_export(error: &ExportError) -> Option<&'static str> {
    match error {
        ExportError::Disk(error) => of_disk(error),
        _ => None,
    }
}

fn of_disk(error: &DiskError) -> Option<&'static str> {
    match error {
        DiskError::InUse(_) => {
            Some("give each rollcall a directory of its own with --data-dir, or keep nothing with --memory")
        }
        DiskError::NoDirectory(_) | DiskError::Missing(_) => Some("name one with --data-dir"),
        DiskError::NotWritable { .. } | DiskError::Foreign(_) | DiskError::Newer { .. } => {
            Some("another directory can be named with --data-dir")
        }
        DiskError::Full(_) => Some("the limit is --total-bytes"),
        DiskError::NotReadable { .. }
        | DiskError::Damaged { .. }
        | DiskError::Unreadable { .. }
        | DiskError::Vanished { .. }
        | DiskError::Closed
        | DiskError::Other { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_belongs_to_the_cause_of_the_error() {
        let in_use = DiskError::InUse("/data".into());
        let start = StartError::Core(ControlStartError::Store(in_use));
        let text = with_hint(&start);
        assert!(text.starts_with("cannot start: another process uses /data: give each"), "{text}");
        assert_eq!(with_hint(&DiskError::Closed), DiskError::Closed.to_string());
    }
}
