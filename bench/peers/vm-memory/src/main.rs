// SPDX-License-Identifier: MIT
//! What rust-vmm's vm-memory costs for the work that `stage2 bench access` and `stage2 bench slots`
//! do: accesses to guest memory by number of regions, and replacing the memory map under readers.
//!
//! Accesses through a `GuestMemoryMmap` (load64, store64, read4k ...) are for a map that never
//! changes. Where it may change while vCPUs run, as stage2's may at any time, they have to go
//! through `GuestMemoryAtomic::memory()`: those ops end in _memory, and are what stage2's are to be
//! compared with. The plain_ and memcpy ones do without vm-memory and have 0 "slots".
//!
//! Of the threads of a replace, one replaces the map and the others read: their row is
//! load64_during_replace.

mod access;
mod guest;
mod measure;
mod options;
mod replace;
mod report;

use access::AccessGuest;
use guest::{Addresses, Memory};
use options::Options;
use replace::ReplaceGuest;
use std::io::{self, Write};
use std::process::ExitCode;

/// Those of `stage2 bench access`, and some between.
const ACCESS_SLOTS: [usize; 6] = [1, 8, 16, 64, 512, 32000];
/// Those of `stage2 bench slots`.
const REPLACE_SLOTS: [usize; 4] = [32, 512, 4096, 32000];

fn run(options: &Options) -> Result<String, String> {
    let memory = Memory::create()?;
    let at = Addresses::choose();
    let mut access_guests = Vec::new();
    let mut replace_guests = Vec::new();

    memory.touch(&at);
    for slots in ACCESS_SLOTS {
        access_guests.push(AccessGuest::create(memory, slots)?);
    }
    for slots in REPLACE_SLOTS {
        replace_guests.push(ReplaceGuest::create(memory, slots)?);
    }

    let mut cells = access::cells(memory, &access_guests, &at, &options.threads);
    cells.extend(replace::cells(&replace_guests, &at, &options.threads));
    let report = measure::measure(&cells, options)?;
    Ok(if options.json {
        report::json(&report)
    } else {
        report::table(&report)
    })
}

fn main() -> ExitCode {
    let text = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => Ok(options::HELP.to_string()),
        Err(error) => {
            eprintln!("peer_vm_memory: {error}");
            return ExitCode::from(2);
        }
    };
    // Not print!(), which panics where nobody reads on.
    let printed = text.and_then(|text| {
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write the report: {error}"))
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer_vm_memory: {error}");
            ExitCode::FAILURE
        }
    }
}
