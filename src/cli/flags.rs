//! The flags of a command line, of which each must be a setting with a good value.

use std::ffi::OsString;

use clap::builder::{OsStr, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::{ConfigError, SettingArgs};

/// A command line without its mistakes, and these.
pub(super) struct Flags {
    pub(super) arguments: Vec<OsString>,
    pub(super) findings: Vec<ConfigError>,
}

impl Flags {
    /// Checks the settings of a command line for the service. Others stay as they are. The error is about arguments that
    /// are no settings.
    pub(super) fn read(command: &Command, arguments: &[OsString]) -> Result<Self, clap::Error> {
        /// The commands with the arguments of the service.
        const OF_SERVICE: [&str; 2] = ["serve", "check-config"];
        let unchecked = || Self { arguments: arguments.to_vec(), findings: Vec::new() };
        let Some(called) =
            arguments.get(1).and_then(|name| name.to_str()).filter(|name| OF_SERVICE.contains(name))
        else {
            return Ok(unchecked());
        };
        let given = as_texts(command.clone()).try_get_matches_from(arguments)?;
        let (Some((_, given)), Some(called)) = (given.subcommand(), command.find_subcommand(called)) else {
            return Ok(unchecked());
        };
        let mut read = Self { arguments: arguments[..2].to_vec(), findings: Vec::new() };
        for argument in called.get_arguments() {
            if given.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine) {
                read.take(called, argument, given);
            }
        }
        Ok(read)
    }

    fn take(&mut self, called: &Command, argument: &Arg, given: &ArgMatches) {
        let settings = SettingArgs::of(called);
        let flag = format!("--{}", argument.get_long().unwrap_or_default());
        if !argument.get_action().takes_values() {
            return self.arguments.push(flag.into());
        }
        if argument.is_hide_env_values_set() {
            let detail =
                "everybody on this host can read command lines: give it in the environment or a file";
            return self.find(flag, detail.to_owned());
        }
        let values: Vec<_> = given.get_raw(argument.get_id().as_str()).into_iter().flatten().collect();
        let mut are_good = true;
        for value in &values {
            if let Err(detail) = settings.check(argument, value) {
                self.find(flag.clone(), detail);
                are_good = false;
            }
        }
        for value in values.into_iter().filter(|_| are_good) {
            let mut good = OsString::from(format!("{flag}="));
            good.push(value);
            self.arguments.push(good);
        }
    }

    fn find(&mut self, flag: String, detail: String) {
        self.findings.push(ConfigError { place: flag, line: None, detail });
    }
}

/// The error, with a tip if the command is missing before a flag of the service.
pub(super) fn with_tip(mut error: clap::Error, command: &Command, arguments: &[OsString]) -> clap::Error {
    let flag = arguments.get(1).and_then(|flag| flag.to_str()).filter(|flag| flag.starts_with("--"));
    let flag = flag.map(|flag| flag.split('=').next().unwrap_or_default());
    let is_known = |flag: &&str| {
        let mut of_serve = command.find_subcommand("serve").into_iter().flat_map(Command::get_arguments);
        of_serve.any(|argument| argument.get_long() == flag.strip_prefix("--"))
    };
    if let Some(flag) = flag.filter(is_known)
        && error.kind() == ErrorKind::UnknownArgument
    {
        let tip = format!("'{flag}' belongs to a command: rollcall serve {flag}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The command with any text as the value of its settings, from flags only.
fn as_texts(command: Command) -> Command {
    command.mut_subcommands(|called| {
        called.mut_args(|argument| {
            let bare = argument.env(Resettable::<OsStr>::Reset);
            if !bare.get_action().takes_values() {
                return bare;
            }
            bare.default_values(None::<&str>).value_parser(value_parser!(OsString))
        })
    })
}
