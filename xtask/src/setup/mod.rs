//! What a plain machine lacks. Everything here can be called again and again: it does only what is still missing.
pub mod apt;
mod machine;
mod sources;
mod ss;
mod toolchain;
mod version;

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    cli::SetupOptions,
    kernels::{self, Kernel},
};

pub use machine::{Machine, machine};
pub use ss::ss;
pub use toolchain::toolchain;

/// `cargo xtask setup`
pub fn command(options: &SetupOptions) -> Result<ExitCode> {
    toolchain()?;
    println!("rust-src and bpf-linker are there");
    if options.no_vm {
        return Ok(ExitCode::SUCCESS);
    }
    let machine = machine()?;
    println!("{} and {} are there", machine.qemu.display(), machine.busybox.display());
    let mut missing = false;
    for series in chosen(&options.kernels) {
        let kernel = if options.refresh { kernels::fetch(&series, true) } else { kernels::provide(&series) };
        missing |= kernel.is_err();
        match kernel {
            Ok(kernel) => println!("kernel {series} is there: {}", kernel.full_version()),
            Err(error) => println!("kernel {series} cannot be had: {error:#}"),
        }
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The kernels of the named series, or of all: each is there or has a reason why not.
pub fn kernels(series: &[String]) -> Vec<(String, Result<Kernel>)> {
    chosen(series)
        .into_iter()
        .map(|series| {
            let kernel = kernels::provide(&series);
            (series, kernel)
        })
        .collect()
}

fn chosen(series: &[String]) -> Vec<String> {
    if series.is_empty() { kernels::SERIES.iter().map(ToString::to_string).collect() } else { series.to_vec() }
}
