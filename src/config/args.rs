//! The settings, as clap describes the arguments of a command.

use std::any::TypeId;

use clap::builder::{OsStr, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::DeValue;

use super::values::text;
use crate::model::parse_decimal;

/// The arguments of a command that can be set in the environment, and so in a file.
pub struct SettingArgs<'a>(&'a Command);

impl<'a> SettingArgs<'a> {
    pub fn of(command: &'a Command) -> Self {
        Self(command)
    }

    pub fn all(&self) -> impl Iterator<Item = &'a Arg> + use<'a> {
        /// The setting that names the file itself.
        const FILE: &str = "config";
        self.0.get_arguments().filter(|argument| argument.get_env().is_some() && argument.get_id() != FILE)
    }

    /// The texts of a setting's value, if a command line with each of them is accepted; none if there is no such
    /// setting.
    pub(super) fn texts(&self, name: &str, value: &DeValue<'_>) -> Option<Result<Vec<String>, String>> {
        let argument = self.all().find(|argument| argument.get_id() == name)?;
        Some(texts(value, argument).and_then(|texts| self.check(argument, texts)))
    }

    fn check(&self, argument: &Arg, texts: Vec<String>) -> Result<Vec<String>, String> {
        if argument.get_action().takes_values() {
            let alone = self.0.clone().mut_args(|argument| argument.env(Resettable::<OsStr>::Reset));
            let flag = argument.get_long().unwrap_or_default();
            for text in &texts {
                let line = ["serve".to_owned(), format!("--{flag}={text}")];
                let mut alone = alone.clone();
                let given = alone.try_get_matches_from_mut(line).map_err(|error| reason(&error))?;
                check_arguments(&alone, &given).map_err(|error| reason(&error))?;
            }
        }
        Ok(texts)
    }

    /// Why there is not a setting of this name.
    pub(super) fn unknown(&self, name: &str) -> String {
        /// Below this similarity, a name is unlikely to be a typing mistake.
        const ALIKE: f64 = 0.8;
        let names =
            self.all().map(|argument| argument.get_id().as_str()).chain(["memberships", "responders"]);
        let nearest =
            names.map(|known| (strsim::jaro_winkler(known, name), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((alike, known)) if alike >= ALIKE => {
                format!("`{name}` is not a setting: did you mean `{known}`?")
            }
            _ => format!(
                "`{name}` is not a setting: `rollcall serve --help` lists them, each with `_` for `-`"
            ),
        }
    }
}

/// Numbers have one form each; clap would accept a sign and leading zeros, too.
pub fn check_numbers(command: &Command, given: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, given)) = given.subcommand() else { return Ok(()) };
    command.find_subcommand(name).map_or(Ok(()), |called| check_arguments(called, given))
}

fn check_arguments(command: &Command, given: &ArgMatches) -> Result<(), clap::Error> {
    let is_number = |argument: &&Arg| {
        let parsed = argument.get_value_parser().type_id();
        parsed == TypeId::of::<u32>() || parsed == TypeId::of::<u64>()
    };
    // Permissions are octal.
    let numbers = command.get_arguments().filter(is_number).filter(|one| one.get_id() != "socket_mode");
    for argument in numbers {
        for text in given.get_raw(argument.get_id().as_str()).into_iter().flatten() {
            if text.to_str().and_then(parse_decimal::<u64>).is_none() {
                let (flag, text) = (argument.get_long().unwrap_or_default(), text.display());
                let detail = format!(
                    "invalid value '{text}' for '--{flag}': write the number without a sign and leading zeros\n"
                );
                return Err(clap::Error::raw(ErrorKind::ValueValidation, detail));
            }
        }
    }
    Ok(())
}

/// The command-line form of this value.
fn texts(value: &DeValue<'_>, argument: &Arg) -> Result<Vec<String>, String> {
    if !argument.get_action().takes_values() {
        let on = value.as_bool().ok_or_else(|| "use true or false".to_owned())?;
        return Ok(vec![on.to_string()]);
    }
    match value {
        DeValue::Array(items) if matches!(argument.get_action(), ArgAction::Append) => {
            items.iter().map(|item| text(item.get_ref())).collect()
        }
        DeValue::Array(_) => Err("it takes one value, not a list".to_owned()),
        one => Ok(vec![text(one)?]),
    }
}

/// clap's error text, without its advice on command lines.
fn reason(error: &clap::Error) -> String {
    let said = error.render().to_string();
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    let first = said.split("\n\n").next().unwrap_or_default();
    first.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
