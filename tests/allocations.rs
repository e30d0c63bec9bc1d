//! Events on their way out take no memory: text, JSON and recordings are written into buffers that are used again and again.
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io,
};

use keepalive_trace::{
    model::event::Event,
    output::{Colors, JsonLines, Look, TextLines},
    recording::Writer,
};
use lab::fleet::{self, Generator, Plan};

thread_local! {
    /// Allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count.
struct Counting;

fn count() {
    // A thread that is ending counts no more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to what `GlobalAlloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EVENTS: u64 = 40_000;

/// Events of a host; names that mean harm are among them.
fn plan(hostile: bool) -> Plan {
    Plan { seed: 7, host: "steady".to_owned(), connections: 4000, events: EVENTS, hostile }
}

/// Allocations of the second time that all events are shown.
fn allocations(events: &[Event], mut show: impl FnMut(&Event)) -> u64 {
    events.iter().for_each(&mut show);
    let before = ALLOCATIONS.get();
    events.iter().for_each(&mut show);
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn a_line_of_text_or_json_takes_no_memory() {
    for hostile in [false, true] {
        let events: Vec<Event> = Generator::new(plan(hostile)).collect();
        let mut json = JsonLines::default();
        assert_eq!(allocations(&events, |event| json.write(event, &mut io::sink()).unwrap()), 0, "JSON");
        for (wide, wall_clock) in [(false, false), (true, true)] {
            let mut text = TextLines::new(&Look { json: false, wide, reports: false, wall_clock, colors: Colors::Always });
            let taken = allocations(&events, |event| text.write(event, &mut io::sink()).unwrap());
            // The time of day is looked up in the time zone once a second.
            assert_eq!(taken, 0, "text, wide: {wide}, time of day: {wall_clock}");
        }
    }
}

#[test]
fn a_recorded_event_takes_no_memory() {
    for hostile in [false, true] {
        let plan = plan(hostile);
        let mut writer = Writer::begin(io::sink(), &fleet::header(&plan)).unwrap();
        let events: Vec<Event> = Generator::new(plan).collect();
        // Batches of all sizes, the same each time.
        let mut number = 0;
        let taken = allocations(&events, |event| {
            writer.add(event).unwrap();
            number = (number + 1) % events.len();
            if number % 10_000 < 100 || number.is_multiple_of(3000) {
                writer.flush().unwrap();
            }
        });
        assert_eq!(taken, 0, "hostile: {hostile}");
    }
}
