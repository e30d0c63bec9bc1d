//! What a plain machine lacks. Everything here can be called again and again: it does only what is still missing.
pub mod apt;
mod debs;
mod machine;
mod packed;
mod peers;
mod python;
mod servers;
mod sources;
mod ss;
mod toolchain;
mod unpacked;
mod version;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::{
    cli::SetupOptions,
    kernels::{self, Kernel},
};

pub use machine::{Machine, machine};
pub use peers::peers;
pub use python::python;
pub use servers::servers;
pub use ss::{ss, tcpdump};
pub use toolchain::toolchain;
pub use unpacked::{chromium, tshark};

/// Brings a tool that only some tests want.
type Bring = fn() -> Result<PathBuf>;

const TOOLS: [(&str, Bring); 4] = [
    ("a Python with pyarrow, duckdb and chdb", python),
    ("Chromium", chromium),
    ("tshark", tshark),
    ("HTTP servers and clients", servers),
];

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
    for (name, bring) in TOOLS {
        let tool = bring();
        missing |= tool.is_err();
        match tool {
            Ok(file) => println!("{name} is there: {}", file.display()),
            Err(error) => println!("{error:#}"),
        }
    }
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
