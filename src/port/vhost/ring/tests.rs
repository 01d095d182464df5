//! What needs no memory: when to call, and the shape of tables. Rings at work are in `tests/vhost_rings.rs`.

use super::{Base, Fault, entries_of, passes};

#[test]
fn an_event_is_passed_when_the_index_goes_beyond_it_and_was_not_before() {
    for (event, old, new, expected) in [
        (4, 4, 5, true),
        (5, 4, 5, false),
        (3, 4, 5, false),
        (4, 0, 32, true),
        (31, 0, 32, true),
        (32, 0, 32, false),
        (0, 0, 32, true),
        (65535, 0, 32, false),
        (65535, 65535, 0, true),
        (65535, 65530, 5, true),
        (0, 65530, 0, false),
        (0, 65530, 1, true),
        (65529, 65530, 5, false),
        (7, 7, 7, false),
    ] {
        assert_eq!(passes(event, new, old), expected, "event {event}, {old} to {new}");
    }
}

#[test]
fn passing_agrees_with_walking_there_step_by_step() {
    for start in [0_u16, 1, 100, 65500, 65535] {
        for steps in [0_u16, 1, 2, 31, 256] {
            let new = start.wrapping_add(steps);
            for event in
                (0..=u16::MAX).step_by(7).chain([start, new, new.wrapping_sub(1), start.wrapping_sub(1)])
            {
                let walked = (0..steps).any(|step| start.wrapping_add(step) == event);
                assert_eq!(passes(event, new, start), walked, "event {event}, {start} to {new}");
            }
        }
    }
}

#[test]
fn an_indirect_table_has_whole_entries_and_not_too_many() {
    assert_eq!(entries_of(16), Ok(1));
    assert_eq!(entries_of(16 << 15), Ok(1 << 15));
    for bad in [0, 15, 17, (16 << 15) + 16, u32::MAX, u32::MAX - 15] {
        assert_eq!(entries_of(bad), Err(Fault::Table), "{bad}");
    }
}

#[test]
fn a_new_rings_base_is_zero_in_the_first_round() {
    assert_eq!(Base::start(false).bits(), 0);
    assert_eq!(Base::start(true).bits(), 0x8000_8000);
    assert_eq!(Base::from_bits(77).bits(), 77);
}
