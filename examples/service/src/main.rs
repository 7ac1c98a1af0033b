//! The program; see the README.

use std::process::ExitCode;

use clap::Parser;
use matou_http::runtime::Builder;
use service::Config;

fn main() -> ExitCode {
    let config = Config::parse();
    let mut builder = Builder::new();
    if let Some(domains) = config.domains {
        builder = builder.domains(domains.get());
    }
    let served = builder
        .run(async { service::run(config, |address| eprintln!("listening on {address}")).await });
    match served {
        Ok(served) => {
            eprintln!("served {} requests on {} connections", served.requests, served.connections);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
