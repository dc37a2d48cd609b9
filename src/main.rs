use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use rollcall::cli::{Cli, Command, ServeArgs};
use rollcall::notify;
use rollcall::server::Server;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve(&args).await,
        Command::Openapi => rollcall::http::document()
            .to_yaml()
            .map(|yaml| print!("{yaml}"))
            .map_err(|error| error.to_string()),
        Command::Healthcheck(args) => match args.listen.first() {
            Some(listen) => rollcall::healthcheck::ask(listen).await,
            None => Err("there is nothing to ask: name it with --listen".to_owned()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &ServeArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| format!("--log {}: {error}", args.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Reporting that standard error is closed would go to standard error, and panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    rollcall::net::raise_descriptor_limit();
    let stop = stop_on_signals().map_err(|error| format!("cannot watch signals: {error}"))?;
    let server = Server::bind(args.config()).await.map_err(|error| error.to_string())?;
    let address = server.tcp_addr();
    for on in server.listening() {
        tracing::info!(%on, "listening");
    }
    let control = server.control().clone();
    let running = tokio::spawn(server.run(stop));
    notify::ready();
    let serving = async {
        if args.demo
            && let Err(refusal) = rollcall::demo::call_the_roll(&control, address).await
        {
            tracing::error!(%refusal, "the demo could not be shown");
        }
        running.await.map_err(|error| error.to_string())
    };
    tokio::select! {
        served = serving => served,
        never = notify::keep_alive() => match never {},
    }
}

/// Cancelled by the first SIGTERM or SIGINT; a second one ends the process the hard way.
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
