//! Files on /dev/shm as a front-end's memory.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const PAGE: u64 = 4096;

/// A file of memory that has no name any more.
fn file(len: u64) -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("/dev/shm/tapyard-test-memory-{}-{number}", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("/dev/shm");
    fs::remove_file(&path).expect("the file just made");
    file.set_len(len).expect("memory");
    file
}

fn region(guest: u64, user: u64, len: u64, offset: u64, file: &File) -> Region {
    Region { guest, user, len, offset, file: file.try_clone().expect("a descriptor more") }
}

/// Two pages at 0x10000 and, adjacent, two more; another far away.
fn memory() -> (GuestMemory, File) {
    let file = file(16 * PAGE);
    let regions = vec![
        region(0x1_0000, 0x7000_0000, 2 * PAGE, 0, &file),
        region(0x1_2000, 0x8000_0000, 2 * PAGE, 4 * PAGE, &file),
        region(0x10_0000, 0x9000_0000, PAGE, PAGE + 8 * PAGE, &file),
    ];
    (GuestMemory::map(regions).expect("sound regions"), file)
}

#[test]
fn what_is_written_is_in_the_file_at_its_regions_place() {
    let (memory, file) = memory();
    memory.write(0x1_0010, b"one").unwrap();
    memory.write(0x1_3ffd, b"two").unwrap();
    memory.write(0x10_0000, b"three").unwrap();
    let mut found = [0; 5];
    for (at, expected) in [(0x10, &b"one"[..]), (6 * PAGE - 3, b"two"), (9 * PAGE, b"three")] {
        file.read_exact_at(&mut found[..expected.len()], at).unwrap();
        assert_eq!(&found[..expected.len()], expected);
    }
    file.write_all_at(b"four", 4 * PAGE).unwrap();
    let mut read = [0; 4];
    memory.read(0x1_2000, &mut read).unwrap();
    assert_eq!(&read, b"four");
    memory.copy(0x1_2000, &memory, 0x1_2002, 4).unwrap();
    let mut read = [0; 6];
    memory.read(0x1_2000, &mut read).unwrap();
    assert_eq!(&read, b"fofour", "an overlap is copied as if there were none");
}

#[test]
fn nothing_outside_of_a_region_is_reached() {
    let (memory, _file) = memory();
    let other = GuestMemory::default();
    let mut bytes = [0; 4];
    for at in [0, 0xffff, 0x1_1ffd, 0x1_3ffd, 0x1_4000, 0xf_ffff, 0x10_0ffd, u64::MAX - 3, u64::MAX] {
        assert_eq!(memory.read(at, &mut bytes), Err(Outside), "{at:#x}");
        assert_eq!(memory.write(at, &bytes), Err(Outside), "{at:#x}");
        assert_eq!(memory.copy(at, &memory, 0x1_0000, 4), Err(Outside), "{at:#x}");
        assert_eq!(memory.copy(0x1_0000, &memory, at, 4), Err(Outside), "{at:#x}");
    }
    assert_eq!(other.read(0, &mut bytes), Err(Outside));
    assert_eq!(memory.copy(0x1_0000, &other, 0x1_0000, 4), Err(Outside));
    assert_eq!(memory.copy(0x1_0000, &memory, 0x1_0000, usize::MAX), Err(Outside));
    assert_eq!(memory.extent(0x1_1ffd, 8), 3);
    assert_eq!(memory.extent(0x1_1ffd, 3), 3);
    assert_eq!(memory.extent(0x1_4000, 1), 0);
    assert_eq!(memory.extent(0x10_0fff, u64::MAX), 1);
    assert_eq!(memory.extent(u64::MAX, u64::MAX), 0);
}

#[test]
fn the_front_ends_addresses_become_the_guests() {
    let (memory, _file) = memory();
    assert_eq!(memory.guest_of_user(0x7000_0010, 16), Some(0x1_0010));
    assert_eq!(memory.guest_of_user(0x8000_0000, 2 * PAGE), Some(0x1_2000));
    assert_eq!(memory.guest_of_user(0x8000_0001, 2 * PAGE), None);
    assert_eq!(memory.guest_of_user(0x6fff_ffff, 1), None);
    assert_eq!(memory.guest_of_user(u64::MAX, u64::MAX), None);
}

#[test]
fn regions_that_cannot_be_are_refused() {
    let file = file(4 * PAGE);
    let sound = || region(0x1000, 0x1000, PAGE, 0, &file);
    for (bad, words) in [
        (region(0x8000, 0x8000, 0, 0, &file), "no length"),
        (region(0x1800, 0x8000, PAGE, 0, &file), "overlap"),
        (region(0x0800, 0x8000, PAGE, 0, &file), "overlap"),
        (region(0x8000, 0x1fff, PAGE, 0, &file), "overlap"),
        (region(0x8000, 0x8000, 5 * PAGE, 0, &file), "longer than its file"),
        (region(0x8000, 0x8000, PAGE, 3 * PAGE + 1, &file), "longer than its file"),
        (region(u64::MAX, 0x8000, PAGE, 0, &file), "the end of all addresses"),
        (region(0x8000, u64::MAX, PAGE, 0, &file), "the end of all addresses"),
        (region(0x8000, 0x8000, PAGE, u64::MAX, &file), "the end of all addresses"),
        (region(0x8000, 0x8000, u64::MAX - 0x8000, 0, &file), "more than 4 TiB"),
        (region(0x8000, 0x8000, MAX_LEN + 1 - PAGE, 0, &file), "more than 4 TiB"),
        (
            region(0x8000, 0x8000, PAGE, 0, &File::open("/proc/self/maps").unwrap()),
            "neither of memory nor on a disk",
        ),
        (region(0x8000, 0x8000, PAGE, 0, &File::open("/dev/zero").unwrap()), "no file"),
    ] {
        let error = GuestMemory::map(vec![sound(), bad]).expect_err(words);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(words), "{error} instead of {words}");
    }
    let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let error = GuestMemory::map(vec![region(0, 0, PAGE, 0, &read_only)]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));

    let many = |count: usize| {
        (0..count as u64).map(|n| region(n * PAGE, n * PAGE, PAGE, 0, &file)).collect::<Vec<_>>()
    };
    assert_eq!(GuestMemory::map(many(MAX_REGIONS)).expect("as many as may be").regions(), MAX_REGIONS);
    assert!(GuestMemory::map(many(MAX_REGIONS + 1)).is_err());
}

#[test]
fn regions_come_and_go_one_by_one_and_the_others_stay_mapped() {
    let (first, file) = memory();
    let more = first.with(region(0x20_0000, 0xa000_0000, PAGE, 3 * PAGE, &file)).unwrap();
    assert!(first.with(region(0x1_0000, 0xa000_0000, PAGE, 0, &file)).is_err());
    drop(first);
    more.write(0x20_0000, b"here").unwrap();
    assert!(more.without(0x20_0000, 0xa000_0000, 2 * PAGE).is_none());
    let less = more.without(0x20_0000, 0xa000_0000, PAGE).unwrap();
    drop(more);
    assert_eq!(less.write(0x20_0000, b"gone"), Err(Outside));
    less.write(0x1_0000, b"here").unwrap();
    assert_eq!(less.regions(), 3);
}

#[test]
fn an_area_keeps_its_memory_and_knows_its_bounds() {
    let (memory, file) = memory();
    let memory = Arc::new(memory);
    assert!(memory.area::<16>(0x1_0008, 16).is_err());
    assert!(memory.area::<16>(0x1_1ff0, 32).is_err());
    assert!(memory.area::<16>(0x1_0000, 8).is_err());
    let area = memory.area::<16>(0x1_0010, 16).unwrap();
    drop(memory);
    area.store_u16(2, 0x1234, Ordering::Release);
    area.store_u32(4, 0x5678_9abc, Ordering::Relaxed);
    assert_eq!(area.load_u64(0, Ordering::Acquire), 0x5678_9abc_1234_0000);
    let mut bytes = [0; 2];
    file.read_exact_at(&mut bytes, 0x12).unwrap();
    assert_eq!(bytes, [0x34, 0x12], "little-endian");
    for (offset, what) in [(15, "odd"), (16, "behind"), (usize::MAX, "far"), (1, "odd")] {
        let load = std::panic::AssertUnwindSafe(|| area.load_u16(offset, Ordering::Relaxed));
        assert!(std::panic::catch_unwind(load).is_err(), "{what}");
    }
}

#[test]
fn a_file_cut_off_breaks_its_own_memory_only() {
    let (memory, file) = memory();
    let (other, _other_file) = self::memory();
    memory.write(0x1_0000, &[7; 8]).unwrap();
    other.write(0x1_0000, &[9; 8]).unwrap();
    let memory = Arc::new(memory);
    let area = memory.area::<16>(0x1_0000, 64).unwrap();
    file.set_len(4 * PAGE).unwrap();
    assert!(!memory.broken(), "nobody has looked yet");
    let mut bytes = [1; 8];
    memory.read(0x1_0000, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 8], "this region is in what is left of the file");
    assert!(!memory.broken());
    memory.read(0x1_2ffc, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 8], "empty pages, also over the border of two");
    assert!(memory.broken());
    memory.write(0x10_0000, &[5; 8]).unwrap();
    memory.read(0x10_0000, &mut bytes).unwrap();
    assert_eq!(bytes, [5; 8], "a third region has pages of our own too");
    assert_eq!(area.load_u64(0, Ordering::Relaxed), 0x0707_0707_0707_0707);
    file.set_len(0).unwrap();
    assert_eq!(area.load_u64(0, Ordering::Relaxed), 0);
    area.store_u16(0, 3, Ordering::Release);

    assert!(!other.broken());
    other.read(0x1_0000, &mut bytes).unwrap();
    assert_eq!(bytes, [9; 8]);
    drop((memory, area));
    let (fresh, _file) = self::memory();
    assert!(!fresh.broken(), "a new mapping in the old one's entry");
}

#[test]
fn many_threads_may_meet_the_cut_at_once() {
    let file = file(1024 * PAGE);
    let memory = Arc::new(GuestMemory::map(vec![region(0, 0, 1024 * PAGE, 0, &file)]).unwrap());
    file.set_len(0).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for page in 0..256 {
                    memory.write((4 * page + thread) * PAGE, &[1]).unwrap();
                }
            });
        }
    });
    assert!(memory.broken());
}

/// Runs this test alone in a process of its own, with `which` to be done there, and tells the signal it died of.
fn dies_of(which: &str) -> Option<i32> {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sys::guest_memory::tests::any_other_bus_error_is_as_deadly_as_ever"])
        .env("TAPYARD_TEST_BUS", which)
        .output()
        .unwrap()
        .status;
    status.signal()
}

#[test]
fn any_other_bus_error_is_as_deadly_as_ever() {
    let Ok(which) = std::env::var("TAPYARD_TEST_BUS") else {
        assert_eq!(dies_of("nothing"), None);
        assert_eq!(dies_of("sent"), Some(libc::SIGBUS));
        assert_eq!(dies_of("elsewhere"), Some(libc::SIGBUS));
        return;
    };
    let (memory, _file) = memory();
    match which.as_str() {
        // SAFETY: a signal to ourselves.
        "sent" => _ = unsafe { libc::raise(libc::SIGBUS) },
        "elsewhere" => {
            let file = file(PAGE);
            // SAFETY: a new mapping, cut off, of which one byte is read: that is meant to end the process.
            unsafe {
                let (len, how) = (PAGE as usize, libc::PROT_READ);
                let at = libc::mmap(ptr::null_mut(), len, how, libc::MAP_SHARED, file.as_raw_fd(), 0);
                file.set_len(0).unwrap();
                at.cast::<u8>().read_volatile();
            }
        }
        _ => {}
    }
    assert!(!memory.broken());
}
