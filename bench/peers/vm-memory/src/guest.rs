// SPDX-License-Identifier: MIT
//! The guest memory that is accessed, and where: the size, the pages and the words of `stage2 bench
//! access`. All guests share the memory and differ in the number of regions it is cut into.

use std::sync::Arc;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

pub const PAGE_SIZE: usize = 4096;
const GUEST_PAGES: usize = 32000;

const HOT_PAGES: usize = 64;
const HOT_WORDS: usize = 4;
const HOT_ADDRESSES: usize = 1024;

/// stage2's choice of hot pages: each has an index of its own in a TLB of this many entries, and
/// they are spread over this many parts of the guest.
const TLB_ENTRIES: usize = 512;
const PARTS: usize = 8;

pub type Map = GuestMemoryMmap<()>;
pub type Region = GuestRegionMmap<()>;

/// Guest addresses; all are below 4 GiB, and half the size leaves more of the cache to the guest.
pub struct Addresses {
    pub hot: Vec<u32>,
    /// The first bytes of the hot pages.
    pub copy: Vec<u32>,
}

/// xorshift64*, as stage2 bench has it, so that the addresses are the same ones; only their order
/// is another.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit as u64) as usize
    }

    fn shuffle(&mut self, list: &mut [u32]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

impl Addresses {
    pub fn choose() -> Addresses {
        let rows = GUEST_PAGES / TLB_ENTRIES / PARTS;
        let mut random = Random(1);
        let (mut copy, mut words) = (Vec::new(), Vec::new());

        for i in 0..HOT_PAGES {
            let row = i % PARTS * rows + random.below(rows);
            let page = (row * TLB_ENTRIES + i) * PAGE_SIZE;

            copy.push(page as u32);
            for _ in 0..HOT_WORDS {
                words.push((page + random.below(PAGE_SIZE / 8) * 8) as u32);
            }
        }
        let mut hot: Vec<u32> = words.iter().copied().cycle().take(HOT_ADDRESSES).collect();
        random.shuffle(&mut hot);
        random.shuffle(&mut copy);
        Addresses { hot, copy }
    }
}

/// All of the guest's pages, and one behind them to add and remove as a region.
pub struct Memory(MmapRegion<()>);

impl Memory {
    /// It stays to the end of the process, so that no region can outlive what it points to.
    pub fn create() -> Result<&'static Memory, String> {
        let mapping = MmapRegion::new((GUEST_PAGES + 1) * PAGE_SIZE)
            .map_err(|error| format!("cannot map the guest's memory: {error}"))?;

        Ok(Box::leak(Box::new(Memory(mapping))))
    }

    /// What a plain program has instead of a memory map; a number, as threads may share those.
    pub fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// Stores to each page that is going to be used, so that it is not the zero page.
    pub fn touch(&self, at: &Addresses) {
        for &gpa in &at.copy {
            // SAFETY: all the addresses are below the mapping's size.
            unsafe { self.0.as_ptr().add(gpa as usize).write_volatile(1) };
        }
    }

    fn region(&'static self, first: usize, end: usize) -> Result<Arc<Region>, String> {
        // SAFETY: the pages are the mapping's, which is never unmapped.
        let mapping = unsafe {
            MmapRegionBuilder::new((end - first) * PAGE_SIZE)
                .with_raw_mmap_pointer(self.0.as_ptr().add(first * PAGE_SIZE))
                .build()
        };
        let mapping = mapping.map_err(|error| format!("cannot make a region: {error}"))?;
        let region = Region::new(mapping, GuestAddress((first * PAGE_SIZE) as u64))
            .map_err(|error| format!("cannot make a region: {error}"))?;

        Ok(Arc::new(region))
    }

    /// The guest's memory in so many regions of about the same size.
    pub fn map(&'static self, slots: usize) -> Result<Map, String> {
        let regions: Result<Vec<_>, String> = (0..slots)
            .map(|i| self.region(GUEST_PAGES * i / slots, GUEST_PAGES * (i + 1) / slots))
            .collect();

        Map::from_arc_regions(regions?)
            .map_err(|error| format!("cannot make a map of {slots} regions: {error}"))
    }

    /// The one that no map has yet.
    pub fn extra_region(&'static self) -> Result<Arc<Region>, String> {
        self.region(GUEST_PAGES, GUEST_PAGES + 1)
    }
}
