//! The arguments of the subcommand `export`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::config;
use crate::contract::parse_time;
use crate::control::ResourceKind;
use crate::model::{Id, Timestamp};
use crate::rendering::{Filter, SourceRange};

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The resources to export, as in paths of the API: `memberships/ID`, or `memberships`, `responders` or `messages`
    /// for all of a kind. May be repeated; without any, the command exports all.
    #[arg(value_name = "RESOURCE")]
    pub(super) choices: Vec<Choice>,
    /// List the resources instead: a line of JSON for each membership, responder and message.
    #[arg(long, conflicts_with_all = ["format", "since", "until", "source"])]
    pub(super) list: bool,
    /// A JSON object in each line, or a capture file for Wireshark.
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub(super) format: ExportFormat,
    /// The file to write to, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Export only datagrams received at this time (RFC 3339) or later.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Export only datagrams received before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Export only datagrams from this address, ADDRESS:PORT or prefix.
    #[arg(long, value_name = "SOURCE")]
    source: Option<SourceRange>,
    /// The configuration file of the service.
    #[arg(long, env = "ROLLCALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory to read. The command does not change it, and a service may use it.
    #[arg(long, env = "ROLLCALL_DATA_DIR", value_name = "DIRECTORY", default_value_os_t = config::state_directory())]
    pub(super) data_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    Ndjson,
    Pcapng,
}

/// All resources of a kind, or one of them.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) kind: ResourceKind,
    pub(super) id: Option<Id>,
}

impl ExportArgs {
    pub(super) fn filter(&self) -> Filter {
        Filter { since: self.since, until: self.until, source: self.source }
    }

    /// Whether the choices may select more than one resource, whatever the directory holds.
    pub(super) fn may_be_several(&self) -> bool {
        !matches!(&self.choices[..], [Choice { id: Some(_), .. }])
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, id) = text.split_once('/').map_or((text, None), |(kind, id)| (kind, Some(id)));
        // Also accepts the singular, as in events and lines.
        let name = kind.strip_suffix('s').unwrap_or(kind);
        let kind = ResourceKind::named(name).ok_or_else(|| {
            format!("`{kind}` is not a kind of resource: use `memberships`, `responders` or `messages`, or one as in `memberships/ID`")
        })?;
        let id = id.map(Id::parse).transpose().map_err(|error| error.to_string())?;
        Ok(Self { kind, id })
    }
}
