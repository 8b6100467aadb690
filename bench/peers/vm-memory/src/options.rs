// SPDX-License-Identifier: MIT
//! The options, which are those of `stage2 bench` by name and meaning, and the CPUs that threads
//! may be pinned to.

pub const HELP: &str = "\
Usage: peer_vm_memory [--json] [--quick] [--rounds N] [--threads LIST]

Measures rust-vmm's vm-memory: guest accesses by number of regions, and replacing
the memory map under readers.

  --json          print one JSON object instead of a table
  --quick         3 rounds of half a millisecond: shows what there is, says
                  nothing about speed
  --rounds N      measure everything N times and report the medians (11; 1 to 1000)
  --threads LIST  numbers of threads for the _memory loads and for replace, of
                  whose threads one replaces (1,2,4,... up to the number of CPUs)

Example: replacing with no, one and three readers
  peer_vm_memory --threads 1,2,4
";

const MOST_ROUNDS: usize = 1000;

pub struct Options {
    pub json: bool,
    pub quick: bool,
    pub rounds: usize,
    pub threads: Vec<usize>,
    pub cpus: Vec<usize>,
}

/// The CPUs that this process may run on.
fn find_cpus() -> Vec<usize> {
    // SAFETY: a cpu_set_t is a plain array of bits, and the kernel writes no more than its size.
    let cpus: Vec<usize> = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();

        libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize)
            .filter(|&cpu| libc::CPU_ISSET(cpu, &set))
            .collect()
    };

    // More CPUs than a cpu_set_t holds: then one thread, wherever it may be pinned.
    if cpus.is_empty() {
        vec![0]
    } else {
        cpus
    }
}

fn number(option: &str, text: &str, most: usize) -> Result<usize, String> {
    // Digits only: parse() would take a sign, too.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());

    match text.parse() {
        Ok(n) if digits && (1..=most).contains(&n) => Ok(n),
        _ => Err(format!(
            "{option}: '{text}' is not a number from 1 to {most}"
        )),
    }
}

fn thread_list(text: &str, most: usize) -> Result<Vec<usize>, String> {
    let mut threads = Vec::new();

    for part in text.split(',') {
        let n = number("--threads", part, most)?;

        if !threads.contains(&n) {
            threads.push(n);
        }
    }
    Ok(threads)
}

fn default_threads(cpus: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |n| Some(n * 2));

    powers.take_while(|&n| n < cpus).chain([cpus]).collect()
}

/// `None` stands for --help.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let cpus = find_cpus();
    let (mut json, mut quick, mut rounds, mut threads) = (false, false, None, None);

    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg}: its value is missing"));

        match arg.as_str() {
            "--json" => json = true,
            "--quick" => quick = true,
            "--rounds" => rounds = Some(number(&arg, &value()?, MOST_ROUNDS)?),
            "--threads" => threads = Some(thread_list(&value()?, cpus.len())?),
            "--help" => return Ok(None),
            _ => return Err(format!("'{arg}' is not an option; --help lists them")),
        }
    }
    Ok(Some(Options {
        json,
        quick,
        rounds: rounds.unwrap_or(if quick { 3 } else { 11 }),
        threads: threads.unwrap_or_else(|| default_threads(cpus.len())),
        cpus,
    }))
}
