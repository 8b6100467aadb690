// SPDX-License-Identifier: MIT
//! Accesses to guest memory, in the order in which `stage2 bench access` has them: over and over
//! through a short list, so that it is not measured what memory costs behind them.
//!
//! The access itself is a parameter of the loop, and inlined into it.

use crate::guest::{Addresses, Map, Memory, PAGE_SIZE};
use crate::measure::{Cell, Run, Worker};
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::guest_memory::Error;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic};

/// The same map, once as it is and once so that it could be replaced.
pub struct AccessGuest {
    slots: usize,
    fixed: Map,
    shared: GuestMemoryAtomic<Map>,
}

impl AccessGuest {
    pub fn create(memory: &'static Memory, slots: usize) -> Result<AccessGuest, String> {
        let fixed = memory.map(slots)?;
        let shared = GuestMemoryAtomic::new(fixed.clone());

        Ok(AccessGuest {
            slots,
            fixed,
            shared,
        })
    }
}

/// Has `access` go over the list, and on to its beginning.
fn over_list(
    list: &[u32],
    worker: &mut Worker,
    n: u64,
    access: impl Fn(&mut Worker, &[u32]) -> Result<(), Error>,
) -> Result<(), String> {
    let mut done = 0;

    while done < n {
        let first = ((worker.done + done) % list.len() as u64) as usize;
        let some = (list.len() - first).min((n - done) as usize);

        access(worker, &list[first..first + some]).map_err(|error| error.to_string())?;
        done += some as u64;
    }
    Ok(())
}

pub fn loads<'a>(
    list: &'a [u32],
    load: impl Fn(GuestAddress) -> Result<u64, Error> + Sync + 'a,
) -> Run<'a> {
    Box::new(move |worker, n| {
        over_list(list, worker, n, |worker, some| {
            let mut sum = 0u64;

            for &gpa in some {
                sum = sum.wrapping_add(load(GuestAddress(gpa.into()))?);
            }
            worker.sink = worker.sink.wrapping_add(sum);
            Ok(())
        })
    })
}

fn stores<'a>(
    list: &'a [u32],
    store: impl Fn(u64, GuestAddress) -> Result<(), Error> + Sync + 'a,
) -> Run<'a> {
    Box::new(move |worker, n| {
        over_list(list, worker, n, |_, some| {
            for (i, &gpa) in some.iter().enumerate() {
                store(i as u64, GuestAddress(gpa.into()))?;
            }
            Ok(())
        })
    })
}

/// `copy` is from or to the worker's page.
fn copies<'a>(
    list: &'a [u32],
    copy: impl Fn(&mut [u8; PAGE_SIZE], GuestAddress) -> Result<(), Error> + Sync + 'a,
) -> Run<'a> {
    Box::new(move |worker, n| {
        over_list(list, worker, n, |worker, some| {
            for (i, &gpa) in some.iter().enumerate() {
                copy(&mut worker.page.0, GuestAddress(gpa.into()))?;
                worker.sink += u64::from(worker.page.0[i * 8 % PAGE_SIZE]);
            }
            Ok(())
        })
    })
}

/// Read as volatile at each call, so that the compiler does not know what is called, and neither
/// drops a copy nor makes something else of it.
static MEMCPY: unsafe extern "C" fn(
    *mut libc::c_void,
    *const libc::c_void,
    libc::size_t,
) -> *mut libc::c_void = libc::memcpy;

/// # Safety
/// As for memcpy() with a page.
unsafe fn copy_page(to: usize, from: usize) {
    std::ptr::read_volatile(&MEMCPY)(to as *mut _, from as *const _, PAGE_SIZE);
}

fn plain_cells<'a>(memory: &Memory, at: &'a Addresses) -> Vec<Cell<'a>> {
    let base = memory.address();
    let host = move |gpa: GuestAddress| base + gpa.0 as usize;
    // SAFETY (of all three): the addresses are the memory's, which is never unmapped. Atomic, as
    // the guest's loads are: the compiler may not make vectors of them.
    let load = move |gpa| Ok(unsafe { &*(host(gpa) as *const AtomicU64) }.load(Ordering::Relaxed));
    let read = move |page: &mut [u8; PAGE_SIZE], gpa| {
        unsafe { copy_page(page.as_mut_ptr() as usize, host(gpa)) };
        Ok(())
    };
    let write = move |page: &mut [u8; PAGE_SIZE], gpa| {
        unsafe { copy_page(host(gpa), page.as_ptr() as usize) };
        Ok(())
    };

    vec![
        Cell::one("plain_load64", 0, 1, loads(&at.hot, load)),
        Cell::one("memcpy4k", 0, 1, copies(&at.copy, read)),
        Cell::one("memcpy4k_write", 0, 1, copies(&at.copy, write)),
    ]
}

/// Through a map that never changes.
fn fixed_cells<'a>(guest: &'a AccessGuest, at: &'a Addresses) -> Vec<Cell<'a>> {
    let (map, slots) = (&guest.fixed, guest.slots);
    let relaxed = Ordering::Relaxed;

    vec![
        Cell::one("load64", slots, 1, loads(&at.hot, |gpa| map.read_obj(gpa))),
        Cell::one(
            "atomic_load64",
            slots,
            1,
            loads(&at.hot, move |gpa| map.load(gpa, relaxed)),
        ),
        Cell::one(
            "store64",
            slots,
            1,
            stores(&at.hot, |value, gpa| map.write_obj(value, gpa)),
        ),
        Cell::one(
            "atomic_store64",
            slots,
            1,
            stores(&at.hot, move |value, gpa| map.store(value, gpa, relaxed)),
        ),
        Cell::one(
            "read4k",
            slots,
            1,
            copies(&at.copy, |page, gpa| map.read_slice(page, gpa)),
        ),
        Cell::one(
            "write4k",
            slots,
            1,
            copies(&at.copy, |page, gpa| map.write_slice(page, gpa)),
        ),
    ]
}

/// Through one that could be replaced at any time, but is not.
fn shared_cells<'a>(guest: &'a AccessGuest, at: &'a Addresses, threads: usize) -> [Cell<'a>; 2] {
    let shared = &guest.shared;
    let load = |gpa| shared.memory().read_obj(gpa);
    let atomic_load = |gpa| shared.memory().load(gpa, Ordering::Relaxed);

    [
        Cell::one("load64_memory", guest.slots, threads, loads(&at.hot, load)),
        Cell::one(
            "atomic_load64_memory",
            guest.slots,
            threads,
            loads(&at.hot, atomic_load),
        ),
    ]
}

pub fn cells<'a>(
    memory: &Memory,
    guests: &'a [AccessGuest],
    at: &'a Addresses,
    threads: &[usize],
) -> Vec<Cell<'a>> {
    let mut cells = plain_cells(memory, at);

    for guest in guests {
        cells.extend(fixed_cells(guest, at));
        for &nr in threads {
            cells.extend(shared_cells(guest, at, nr));
        }
    }
    cells
}
