//! `rollcall export`: reads a data directory without the service.

mod args;
mod output;

use std::path::PathBuf;

use serde::Serialize;

use crate::contract::rfc3339;
use crate::control::{ResourceKind, saved_group};
use crate::rendering::ExportWriter;
use crate::store::{Archive, ArchivedLog, DiskError};
pub use args::ExportArgs;
use args::{Choice, ExportFormat};
use output::{Output, OutputError};

/// Why an export failed or was cut short.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("there is no {name} in {directory}: `rollcall export --list` lists the existing ones", directory = .directory.display())]
    NoSuch { name: String, directory: PathBuf },
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the output has all that is good in {directory}, but not all that was there:\n{}", .damage.join("\n"), directory = .directory.display())]
    Incomplete { directory: PathBuf, damage: Vec<String> },
}

/// Exports the resources that the arguments name. The reader may close the output at any time: that is not an error.
pub fn run(args: &ExportArgs) -> Result<(), ExportError> {
    let (mut archive, logs) = Archive::open(&args.data_dir)?;
    let mut damage = Vec::new();
    let logs = chosen(logs, args, &mut damage)?;
    let mut out = Output::open(args.output.as_deref(), !args.list && args.format == ExportFormat::Pcapng)?;
    let exported = if args.list {
        list(&mut archive, &logs, &mut out, &mut damage)
    } else {
        write(&mut archive, &logs, args, &mut out)
    };
    match exported.and_then(|()| Ok(out.finish()?)) {
        Err(ExportError::Output(error)) if error.is_enough() => {}
        exported => exported?,
    }
    damage.splice(0..0, archive.damage().iter().cloned());
    if damage.is_empty() {
        return Ok(());
    }
    Err(ExportError::Incomplete { directory: args.data_dir.clone(), damage })
}

/// The requested logs, with their owners' kinds.
fn chosen(
    logs: Vec<ArchivedLog>,
    args: &ExportArgs,
    damage: &mut Vec<String>,
) -> Result<Vec<(ResourceKind, ArchivedLog)>, ExportError> {
    let directory = || args.data_dir.clone();
    let mut kept = Vec::new();
    for log in logs {
        match ResourceKind::named(&log.kind) {
            Some(kind) => kept.push((kind, log)),
            None => damage.push(format!("`{}` is a `{}`, which is no kind of resource", log.id, log.kind)),
        }
    }
    let is = |choice: &Choice, kind: ResourceKind, log: &ArchivedLog| {
        choice.kind == kind && choice.id.as_ref().is_none_or(|id| id.as_str() == log.id)
    };
    for choice in &args.choices {
        if let Some(id) = &choice.id
            && !kept.iter().any(|(kind, log)| is(choice, *kind, log))
        {
            let name = format!("{} `{id}`", choice.kind);
            return Err(ExportError::NoSuch { name, directory: directory() });
        }
    }
    kept.retain(|(kind, log)| {
        args.choices.is_empty() || args.choices.iter().any(|choice| is(choice, *kind, log))
    });
    Ok(kept)
}

/// Writes the logs one after the other, a block at a time.
fn write(
    archive: &mut Archive,
    logs: &[(ResourceKind, ArchivedLog)],
    args: &ExportArgs,
    out: &mut Output,
) -> Result<(), ExportError> {
    let (several, filter) = (args.may_be_several(), args.filter());
    let mut transcript = match args.format {
        ExportFormat::Ndjson => ExportWriter::lines(several, filter),
        ExportFormat::Pcapng => ExportWriter::capture(several, filter),
    };
    let mut chunk = Vec::new();
    transcript.begin(&mut chunk);
    out.write(&chunk)?;
    for (kind, log) in logs {
        transcript.start_log(*kind, &log.id);
        for page in archive.pages(log, |first, last| filter.reaches(first, last)) {
            chunk.clear();
            transcript.page(&mut chunk, &page?);
            out.write(&chunk)?;
        }
    }
    Ok(())
}

/// A resource in the list.
#[derive(Serialize)]
struct Listed<'a> {
    kind: &'static str,
    id: &'a str,
    /// Null if it is damaged.
    group: Option<String>,
    datagrams: u64,
    /// Payloads and their metadata.
    bytes: u64,
    /// The arrival times of the first and the last datagram; null if the log is empty.
    first_at: Option<String>,
    last_at: Option<String>,
}

fn list(
    archive: &mut Archive,
    logs: &[(ResourceKind, ArchivedLog)],
    out: &mut Output,
    damage: &mut Vec<String>,
) -> Result<(), ExportError> {
    for (kind, log) in logs {
        let spec = archive.spec(log)?;
        // The service has deleted the resource in the meantime.
        if spec.is_none() && !log.is_set_aside() {
            continue;
        }
        let group = match spec.filter(|_| !log.is_set_aside()).map(|spec| saved_group(&spec)) {
            Some(Ok(group)) => Some(group.to_string()),
            Some(Err(error)) => {
                damage.push(format!("the specification of {kind} `{}` cannot be read: {error}", log.id));
                None
            }
            None => None,
        };
        let span = archive.span(log)?;
        let listed = Listed {
            kind: kind.name(),
            id: &log.id,
            group,
            datagrams: log.datagrams(),
            bytes: log.bytes(),
            first_at: span.map(|(first, _)| rfc3339(first)),
            last_at: span.map(|(_, last)| rfc3339(last)),
        };
        let mut line = serde_json::to_vec(&listed).expect("all values have a JSON form");
        line.push(b'\n');
        out.write(&line)?;
    }
    Ok(())
}
