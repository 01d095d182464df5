//! What a switch costs that has nothing to do.

mod common;

use std::thread;
use std::time::Duration;

use common::{Host, Yard, as_root, tap};

#[test]
fn sixty_four_idle_ports_cost_next_to_nothing() {
    as_root(|| {
        let host = Host::new("h");
        let ports: String = (0..64).map(|n| tap(&format!("p{n}"), &host, "")).collect();
        let yard = Yard::start(&format!("[bridge.lan]\n{ports}"));
        assert_eq!(yard.rows("port show").len(), 64);
        thread::sleep(Duration::from_millis(500)); // polling after the start ends
        let before = yard.cpu_ticks();
        thread::sleep(Duration::from_secs(5));
        // Half a percent of a core is 2.5 ticks in five seconds. Four times that is still idle, and a machine that is
        // busy with other things does not reach it.
        let used = yard.cpu_ticks() - before;
        assert!(used <= 10, "64 idle ports cost {used} ticks of CPU time in 5 s");
        let resident = yard.resident_kib();
        assert!(resident < 64 << 10, "64 idle ports hold {resident} KiB");
    });
}

#[test]
fn two_hundred_and_fifty_six_ports_start() {
    as_root(|| {
        let host = Host::new("h");
        let ports: String = (0..256).map(|n| tap(&format!("p{n}"), &host, "")).collect();
        let yard = Yard::start(&format!("[bridge.lan]\n{ports}"));
        assert!(yard.rows("port show").iter().all(|row| row["state"] == "up"));
    });
}
