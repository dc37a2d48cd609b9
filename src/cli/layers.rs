//! Defaults, the file, the environment and flags; later layers override earlier ones.
//!
//! There is one table of settings: the arguments of the command. Values of the file replace their defaults, so that
//! clap does the rest, and knows where each value came from.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStr, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::flags::Flags;
use crate::config::{ConfigError, ConfigFile, Environment, SettingArgs};
use crate::contract::configuration::{Setting, SettingSource, SettingValue};

/// The configuration from all layers.
pub struct Layers {
    pub(super) matches: ArgMatches,
    pub file: ConfigFile,
    /// The mistakes in the flags, in the environment and in the file.
    pub findings: Vec<ConfigError>,
    /// Names of settings whose variables have wrong values.
    wrong_variables: Vec<String>,
    /// Each setting with its value and the layer that it came from.
    pub settings: BTreeMap<String, Setting>,
}

impl Layers {
    /// Reads the arguments, the environment, and the file that they name. The error is about arguments that are none;
    /// mistakes in settings are in `findings`.
    pub(super) fn read(command: &Command, arguments: &[OsString]) -> Result<Self, clap::Error> {
        let environment = command
            .find_subcommand("serve")
            .map(|serve| Environment::read(&SettingArgs::of(serve), std::env::vars_os()));
        let environment = environment.unwrap_or_default();
        let Flags { arguments, findings: mut of_flags } = Flags::read(command, arguments)?;
        let command = &without(command.clone(), &environment.wrong);
        let named = command.clone().try_get_matches_from(&arguments)?;
        let named =
            named.subcommand().and_then(|(_, given)| given.try_get_one::<PathBuf>("config").ok().flatten());
        let mut file = match (named, command.find_subcommand("serve")) {
            (Some(path), Some(serve)) => ConfigFile::read(path, &SettingArgs::of(serve)),
            _ => ConfigFile::default(),
        };
        let mut command = over(command.clone(), &file);
        let matches = command.try_get_matches_from_mut(&arguments)?;
        let mut shown = BTreeMap::new();
        if let Some((name, given)) = matches.subcommand() {
            let called = command.find_subcommand(name).into_iter();
            for argument in called.flat_map(|called| SettingArgs::of(called).all()) {
                shown.insert(argument.get_id().to_string(), show(argument, given, &file));
            }
        }
        let is_demo = matches.subcommand().is_some_and(|(_, given)| {
            given.try_get_one::<bool>("demo").is_ok_and(|demo| demo == Some(&true))
        });
        if is_demo {
            // The demo keeps nothing, whatever the other layers say.
            let memory = SettingValue::One(Some(true.to_string()));
            shown.insert("memory".to_owned(), Setting { value: memory, source: SettingSource::Flag });
        }
        let Environment { mut findings, wrong: wrong_variables } = environment;
        of_flags.append(&mut findings);
        of_flags.append(&mut file.findings);
        Ok(Self { matches, file, findings: of_flags, wrong_variables, settings: shown })
    }

    /// Whether this setting has its value from the file.
    pub(super) fn is_from_file(&self, setting: &str) -> bool {
        self.settings.get(setting).is_some_and(|setting| setting.source == SettingSource::File)
    }

    /// Whether this setting has a value in the environment that is a mistake.
    pub fn has_wrong_variable(&self, setting: &str) -> bool {
        self.wrong_variables.iter().any(|wrong| wrong == setting)
    }
}

/// The command, which does not read these settings from the environment.
fn without(command: Command, settings: &[String]) -> Command {
    command.mut_subcommands(|called| {
        called.mut_args(|argument| {
            let is_wrong = settings.iter().any(|setting| argument.get_id() == setting.as_str());
            if is_wrong { argument.env(Resettable::<OsStr>::Reset) } else { argument }
        })
    })
}

/// The command with the file's values as its defaults.
fn over(command: Command, file: &ConfigFile) -> Command {
    command.mut_subcommands(|called| {
        let known: HashSet<_> =
            SettingArgs::of(&called).all().map(|argument| argument.get_id().to_string()).collect();
        let values = file.values.iter().filter(|(name, _)| known.contains(name));
        values.fold(called, |called, (name, texts)| {
            called.mut_arg(name, |argument| argument.default_values(texts.iter().cloned()))
        })
    })
}

fn show(argument: &Arg, given: &ArgMatches, file: &ConfigFile) -> Setting {
    let source = source(argument, given, file);
    if let Some(number) = plain_number(argument, given) {
        return Setting { value: SettingValue::One(Some(number)), source };
    }
    let raw = given.get_raw(argument.get_id().as_str()).into_iter().flatten();
    let mut texts = raw.map(|text| {
        if argument.is_hide_env_values_set() { "***".to_owned() } else { text.to_string_lossy().into_owned() }
    });
    let value = if matches!(argument.get_action(), ArgAction::Append) {
        SettingValue::Several(texts.collect())
    } else {
        SettingValue::One(texts.next())
    };
    Setting { value, source }
}

/// The value of a number, size or time without a unit: one form for each value, whichever way it was written.
fn plain_number(argument: &Arg, given: &ArgMatches) -> Option<String> {
    let name = argument.get_id().as_str();
    // Permissions are octal.
    if name == "socket_mode" {
        return None;
    }
    let count = || given.try_get_one::<u32>(name).ok().flatten().map(ToString::to_string);
    given.try_get_one::<u64>(name).ok().flatten().map(ToString::to_string).or_else(count)
}

fn source(argument: &Arg, given: &ArgMatches, file: &ConfigFile) -> SettingSource {
    let name = argument.get_id().as_str();
    match given.value_source(name) {
        Some(ValueSource::CommandLine) => SettingSource::Flag,
        Some(ValueSource::EnvVariable) => SettingSource::Environment,
        _ if file.values.iter().any(|(known, _)| known == name) => SettingSource::File,
        _ => SettingSource::Default,
    }
}
