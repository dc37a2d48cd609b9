//! The program: runs the subcommand, and serves until a signal ends it.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use rollcall::check::Verdict;
use rollcall::cli::{self, Command, Layers, ServeArgs};
use rollcall::config::ConfigError;
use rollcall::contract::health::{Check, CheckStatus};
use rollcall::export::ExportError;
use rollcall::http::AdminState;
use rollcall::notify;
use rollcall::reload::{self, Reloader};
use rollcall::server::Server;
use rollcall::stdout;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let (cli, layers) = cli::read(&arguments).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Serve(args) => serve(&args, arguments, layers).await,
        Command::CheckConfig(args) => check_config(&args, &layers),
        // With mistakes in the configuration, the export might read another service's data directory.
        Command::Export(_) if !layers.findings.is_empty() => Err(ConfigError::list(&layers.findings)),
        Command::Export(args) => match rollcall::export::run(&args) {
            Err(error @ ExportError::Incomplete { .. }) => return damaged(&error.to_string()),
            exported => exported.map_err(|error| cli::with_hint(&error)),
        },
        Command::Check(args) => match rollcall::check::run(&args) {
            Ok((verdict, printed)) => match (verdict, stdout::print(printed)) {
                (Verdict::Damaged(findings), _) => return damaged(&findings),
                (Verdict::Sound, printed) => printed,
            },
            Err(error) => Err(cli::with_hint(&error)),
        },
        Command::Openapi => {
            let document = rollcall::http::document().to_yaml();
            document.map_err(|error| error.to_string()).and_then(stdout::print)
        }
        // A file with mistakes, which the service has rejected, still says where the service listens.
        Command::Healthcheck(_) if layers.has_wrong_variable("listen") => {
            Err(ConfigError::list(&layers.findings))
        }
        Command::Healthcheck(args) => match args.listen.first() {
            Some(listen) => rollcall::healthcheck::check(listen).await,
            None => Err("there is nothing to ask: name it with --listen".to_owned()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            explain(&error);
            ExitCode::FAILURE
        }
    }
}

/// The exit status of a command that has found damage, and has done what it could.
fn damaged(findings: &str) -> ExitCode {
    const DAMAGED: u8 = 3;
    explain(findings);
    ExitCode::from(DAMAGED)
}

fn explain(error: &str) {
    let priority = rollcall::logging::error_priority();
    let mut stderr = std::io::stderr().lock();
    for line in error.lines() {
        // Nobody may read standard error.
        let _ = writeln!(stderr, "{priority}rollcall: {line}");
    }
}

fn check_config(args: &ServeArgs, layers: &Layers) -> Result<(), String> {
    let findings = match reload::check(args, layers) {
        Ok(config) => layers.file.too_many_declared(&config.settings),
        Err(findings) => findings,
    };
    if !findings.is_empty() {
        return Err(ConfigError::list(&findings));
    }
    match &layers.file.path {
        Some(path) => stdout::print(format_args!("{}: no mistakes found\n", path.display())),
        None => stdout::print("flags and environment: no mistakes found; there is no file\n"),
    }
}

async fn serve(args: &ServeArgs, arguments: Vec<OsString>, layers: Layers) -> Result<(), String> {
    let mut config = reload::check(args, &layers).map_err(|findings| ConfigError::list(&findings))?;
    let filter = rollcall::logging::start(&args.log, args.log_format).map_err(|error| error.to_string())?;
    config.admin_state = AdminState::new(filter);
    rollcall::net::bound_free_heap();
    rollcall::net::raise_descriptor_limit();
    let no_signals = |error| format!("cannot watch signals: {error}");
    let stop = stop_on_signals().map_err(no_signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(no_signals)?;
    let (admin_state, tokens) = (config.admin_state.clone(), config.access.tokens.clone());
    let server = Server::bind(config).await.map_err(|error| cli::as_mistake(&error, &layers).to_string())?;
    let address = server.tcp_addr();
    let needs_token = tokens.is_some()
        && (args.requires_token_always() || address.is_some_and(|address| !address.ip().is_loopback()));
    let control = server.control().clone();
    let mut reloader = Reloader::new(arguments, server.api().clone(), control.clone(), admin_state);
    reloader.start(layers, tokens).await;
    for check in control.rights().map(Check::from) {
        // A demonstration on lo needs none of them. Most hosts have the limit of sources, and few memberships reach it:
        // /readyz and the refusal of such a join tell of it.
        if check.status == CheckStatus::Warning && !args.demo && check.name != "rights.source_filters" {
            tracing::info!(check = %check.name, "{}", check.detail);
        }
    }
    for on in server.listening() {
        tracing::info!(%on, "listening");
    }
    let running = tokio::spawn(server.run(stop.clone()));
    notify::ready();
    let serving = async {
        if args.demo
            && let Err(refusal) = rollcall::demo::call_the_roll(&control, address, needs_token).await
        {
            tracing::error!(%refusal, "the demo could not be shown");
        }
        let reloading = stop.run_until_cancelled(async {
            while hang_up.recv().await.is_some() {
                reloader.reload().await;
            }
        });
        let (ended, _) = tokio::join!(running, reloading);
        let saved = ended.map_err(|error| error.to_string())?;
        saved.map_err(|fault| format!("what was not on disk when it stopped is lost: {fault}"))
    };
    tokio::select! {
        served = serving => served,
        never = notify::keep_alive(|| control.is_alive()) => match never {},
    }
}

/// A token that the first SIGTERM or SIGINT cancels; a second one ends the process at once.
fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => 143, _ = interrupt.recv() => 130 };
        next().await;
        token.cancel();
        notify::stopping();
        tracing::info!("stopping");
        std::process::exit(next().await);
    });
    Ok(stop)
}
