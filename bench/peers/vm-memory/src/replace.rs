// SPDX-License-Identifier: MIT
//! Replacing the memory map, as a VMM does to add or remove a region while devices and vCPUs go on
//! reading. The region is made beforehand and is the guest's last, where it is cheapest to insert.

use crate::access::loads;
use crate::guest::{Addresses, Map, Memory, Region, PAGE_SIZE};
use crate::measure::{Cell, Run, Side};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryRegion};

pub struct ReplaceGuest {
    slots: usize,
    /// Without the extra region.
    base: Map,
    extra: Arc<Region>,
    shared: GuestMemoryAtomic<Map>,
}

impl ReplaceGuest {
    pub fn create(memory: &'static Memory, slots: usize) -> Result<ReplaceGuest, String> {
        let base = memory.map(slots)?;
        let shared = GuestMemoryAtomic::new(base.clone());

        Ok(ReplaceGuest {
            slots,
            base,
            extra: memory.extra_region()?,
            shared,
        })
    }

    fn publish(&self, map: Map) {
        // With panic = "abort" there is nobody to leave the lock poisoned.
        self.shared.lock().unwrap().replace(map);
    }

    /// Always to the same map, so that it does not grow from one time to the next.
    fn replace(&self) -> Result<(), String> {
        let map = self.base.insert_region(self.extra.clone());

        self.publish(map.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// As `stage2 bench slots` has it: one of each together.
    fn add_and_delete(&self) -> Result<(), String> {
        self.replace()?;
        let added = self.shared.memory();
        let map = added.remove_region(self.extra.start_addr(), PAGE_SIZE as u64);

        self.publish(map.map_err(|error| error.to_string())?.0);
        Ok(())
    }
}

fn times<'a>(update: impl Fn() -> Result<(), String> + Sync + 'a) -> Run<'a> {
    Box::new(move |_, n| (0..n).try_for_each(|_| update()))
}

fn replace_cell<'a>(guest: &'a ReplaceGuest, at: &'a Addresses, threads: usize) -> Cell<'a> {
    let mut sides = vec![Side {
        op: "replace",
        threads: 1,
        run: times(|| guest.replace()),
    }];

    if threads > 1 {
        sides.push(Side {
            op: "load64_during_replace",
            threads: threads - 1,
            run: loads(&at.hot, |gpa| guest.shared.memory().read_obj(gpa)),
        });
    }
    Cell {
        slots: guest.slots,
        sides,
    }
}

pub fn cells<'a>(
    guests: &'a [ReplaceGuest],
    at: &'a Addresses,
    threads: &[usize],
) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();

    for guest in guests {
        cells.push(Cell::one(
            "add+delete",
            guest.slots,
            1,
            times(|| guest.add_and_delete()),
        ));
        cells.extend(threads.iter().map(|&nr| replace_cell(guest, at, nr)));
    }
    cells
}
