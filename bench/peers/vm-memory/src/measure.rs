// SPDX-License-Identifier: MIT
//! The loop that measures, which works as that of `stage2 bench` does: each round gives each cell
//! one slice of time, on fresh threads pinned to a CPU each, and a slice ends by the clock. What is
//! reported is the median of the rounds.

use crate::guest::PAGE_SIZE;
use crate::options::Options;
use std::fs;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the clock or at the phase, which are then lost in what is measured.
const BATCH: Duration = Duration::from_micros(20);

/// Aligned, so that how fast it is copied does not depend on where it happens to be.
#[repr(align(64))]
pub struct Page(pub [u8; PAGE_SIZE]);

/// One thread of a measurement.
pub struct Worker {
    /// Operations before this call, since the measurement's beginning.
    pub done: u64,
    /// A run adds what it read, so that the compiler cannot leave the reading out.
    pub sink: u64,
    pub page: Box<Page>,
}

/// Does so many operations.
pub type Run<'a> = Box<dyn Fn(&mut Worker, u64) -> Result<(), String> + Sync + 'a>;

/// What some of a cell's threads do, and the name of their row in the report.
pub struct Side<'a> {
    pub op: &'static str,
    pub threads: usize,
    pub run: Run<'a>,
}

/// What is measured at the same time.
pub struct Cell<'a> {
    pub slots: usize,
    pub sides: Vec<Side<'a>>,
}

impl<'a> Cell<'a> {
    pub fn one(op: &'static str, slots: usize, threads: usize, run: Run<'a>) -> Cell<'a> {
        Cell {
            slots,
            sides: vec![Side { op, threads, run }],
        }
    }

    fn threads(&self) -> usize {
        self.sides.iter().map(|side| side.threads).sum()
    }
}

pub struct Row {
    pub op: &'static str,
    pub slots: usize,
    /// Those of all the cell's sides.
    pub threads: usize,
    /// One thread's wall time for an operation.
    pub ns: f64,
}

pub struct Report {
    pub rows: Vec<Row>,
    /// Of the time that was measured, how much the threads waited for a CPU.
    pub busy_percent: f64,
}

#[derive(Default)]
struct Load {
    measured_ns: u64,
    waited_ns: u64,
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// What the threads of one slice share. All relaxed: a thread that sees a phase late measures
/// itself for as much longer.
struct Slice {
    warm_up: Duration,
    measure: Duration,
    phase: AtomicU8,
    warm: AtomicUsize,
}

struct Timing {
    done: u64,
    elapsed_ns: u64,
    waited_ns: u64,
}

impl Slice {
    fn create(options: &Options) -> Slice {
        let (warm_up, measure) = if options.quick {
            (100, 500)
        } else {
            (2000, 20000)
        };

        Slice {
            warm_up: Duration::from_micros(warm_up),
            measure: Duration::from_micros(measure),
            phase: AtomicU8::new(WARM_UP),
            warm: AtomicUsize::new(0),
        }
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn conduct(&self, threads: usize) {
        while self.warm.load(Ordering::Relaxed) < threads {
            thread::sleep(Duration::from_micros(100));
        }
        thread::sleep(self.warm_up);
        self.phase.store(MEASURE, Ordering::Relaxed);
        thread::sleep(self.measure);
        self.phase.store(STOP, Ordering::Relaxed);
    }
}

fn pin(cpu: usize) {
    // SAFETY: a cpu_set_t is a plain array of bits, and find_cpus() names none beyond its end.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();

        libc::CPU_SET(cpu, &mut set);
        // May fail if the CPU went away; then the scheduler finds another.
        libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set);
    }
}

/// How long the calling thread has been runnable and not running; 0 where the kernel does not tell.
fn cpu_wait_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();

    text.split(' ')
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn run_batch(side: &Side, worker: &mut Worker, batch: u64) -> Result<(), String> {
    (side.run)(worker, batch)?;
    worker.done += batch;
    Ok(())
}

/// Finds the size of a batch, and returns when all threads run at full speed.
fn warm_up(slice: &Slice, side: &Side, worker: &mut Worker) -> Result<u64, String> {
    let mut batch = 1;
    let mut first = true;

    while first || slice.phase() == WARM_UP {
        let begin = Instant::now();

        run_batch(side, worker, batch)?;
        if begin.elapsed() < BATCH {
            batch *= 2;
        }
        if first {
            slice.warm.fetch_add(1, Ordering::Relaxed);
        }
        first = false;
    }
    Ok(batch)
}

fn time(slice: &Slice, side: &Side, worker: &mut Worker) -> Result<Timing, String> {
    let batch = warm_up(slice, side, worker)?;
    let waited_ns = cpu_wait_ns();
    let begin = Instant::now();

    worker.done = 0;
    loop {
        run_batch(side, worker, batch)?;
        if slice.phase() == STOP {
            break;
        }
    }
    Ok(Timing {
        done: worker.done,
        elapsed_ns: begin.elapsed().as_nanos() as u64,
        waited_ns: cpu_wait_ns() - waited_ns,
    })
}

fn thread_main(slice: &Slice, side: &Side, cpu: usize) -> Result<Timing, String> {
    let mut worker = Worker {
        done: 0,
        sink: 0,
        page: Box::new(Page([0; PAGE_SIZE])),
    };

    pin(cpu);
    let timing = time(slice, side, &mut worker);
    if timing.is_err() {
        // Nobody need wait for this thread to get warm.
        slice.warm.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: it is a reference. Volatile, so that all that went into the sum has to be computed.
    unsafe { std::ptr::read_volatile(&worker.sink) };
    timing
}

/// The timings of all threads, in the order of the sides.
fn run_slice(slice: &Slice, cell: &Cell, cpus: &[usize]) -> Result<Vec<Timing>, String> {
    thread::scope(|scope| {
        let sides = cell
            .sides
            .iter()
            .flat_map(|side| std::iter::repeat(side).take(side.threads));
        let threads: Vec<_> = sides
            .zip(cpus.iter().cycle())
            .map(|(side, &cpu)| scope.spawn(move || thread_main(slice, side, cpu)))
            .collect();

        slice.conduct(threads.len());
        // With panic = "abort" no thread can be joined that panicked.
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// One thread's ns for an operation, over all of them.
fn side_ns(timings: &[Timing]) -> f64 {
    let ns: u64 = timings.iter().map(|timing| timing.elapsed_ns).sum();
    let done: u64 = timings.iter().map(|timing| timing.done).sum();

    ns as f64 / done as f64
}

/// A number for each side of each cell.
fn run_round(cells: &[Cell], options: &Options, load: &mut Load) -> Result<Vec<f64>, String> {
    let mut samples = Vec::new();

    for cell in cells {
        let timings = run_slice(&Slice::create(options), cell, &options.cpus).map_err(|error| {
            format!("{} with {} regions: {error}", cell.sides[0].op, cell.slots)
        })?;
        let mut rest = timings.as_slice();

        for side in &cell.sides {
            let (own, others) = rest.split_at(side.threads);

            samples.push(side_ns(own));
            rest = others;
        }
        load.measured_ns += timings.iter().map(|timing| timing.elapsed_ns).sum::<u64>();
        load.waited_ns += timings.iter().map(|timing| timing.waited_ns).sum::<u64>();
    }
    Ok(samples)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

pub fn measure(cells: &[Cell], options: &Options) -> Result<Report, String> {
    let mut load = Load::default();
    let rounds: Result<Vec<_>, String> = (0..options.rounds)
        .map(|_| run_round(cells, options, &mut load))
        .collect();
    let rounds = rounds?;
    let sides = cells
        .iter()
        .flat_map(|cell| cell.sides.iter().map(move |side| (cell, side)));
    let rows = sides.enumerate().map(|(i, (cell, side))| Row {
        op: side.op,
        slots: cell.slots,
        threads: cell.threads(),
        ns: median(rounds.iter().map(|round| round[i]).collect()),
    });

    Ok(Report {
        rows: rows.collect(),
        busy_percent: 100.0 * load.waited_ns as f64 / load.measured_ns as f64,
    })
}
