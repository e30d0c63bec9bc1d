//! `cargo xtask vm`: anything, in one of the kernels.
use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    cli::VmOptions,
    guest, kernels, setup,
    vm::{Clock, Given, Initramfs, Line, MEMORY, MORE_MEMORY, Vm},
};

/// `cargo xtask vm`
pub fn command(options: &VmOptions) -> Result<ExitCode> {
    let mut files = options.files.iter().map(|file| given(file)).collect::<Result<Vec<_>>>()?;
    if !options.bare {
        setup::toolchain()?;
        files.extend(guest::build()?.files());
    }
    let machine = setup::machine()?;
    let kernel = kernels::provide(&options.kernel)?;
    let clock = if options.real { Clock::Real { cpus: 1 } } else { Clock::Virtual };
    let mut initramfs = Initramfs::build(&machine.busybox, &files, &options.command)?;
    if options.servers {
        initramfs = initramfs.with_packed(&setup::servers()?)?;
    }
    let memory = if options.servers { MORE_MEMORY } else { MEMORY };
    let limit = Duration::from_secs(options.limit);
    let vm = Vm { qemu: machine.qemu, kernel, initramfs, clock, memory, limit, patience: limit };
    let ended = vm.run(|line| match line {
        Line::Guest(text) => println!("{text}"),
        Line::Boot(text) | Line::Deadly(text) | Line::Note(text) => eprintln!("{text}"),
        Line::Start | Line::Exit(_) => {}
    });
    ended.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn given(file: &str) -> Result<Given> {
    let (host, guest) =
        file.split_once('=').with_context(|| format!("`{file}` is not HOST=GUEST, as in data/x.bin=/data/x.bin"))?;
    Ok(Given { host: PathBuf::from(host), guest: guest.to_owned() })
}
