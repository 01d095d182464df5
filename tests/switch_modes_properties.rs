//! Port modes under anything that may happen: who must hear a frame, and who must not.

mod kit;

use std::collections::BTreeSet;
use std::time::Duration;

use kit::frames::{broadcast, frame, mac, station, unicast};
use kit::{AGEING, Yard, port};
use proptest::prelude::*;
use proptest::{collection, sample};
use tapyard::switch::Port;
use tapyard::switch::mode::{Apart, Mode};
use tapyard::wire::ethernet::Mac;

const STATIONS: [Mode; 3] = [Mode::Bridge, Mode::Private, Mode::Vepa];

fn up() -> Port {
    Port { apart: Apart::new(Mode::Uplink, false, false), ..port() }
}

fn group(from: u32) -> Vec<u8> {
    frame(Mac::new([1, 0, 0x5e, 1, 2, 3]), mac(from))
}

/// Who a frame is for.
#[derive(Clone, Copy, Debug)]
enum To {
    Station(u32),
    All,
    Group,
}

#[derive(Clone, Debug)]
enum Step {
    /// The station of port `from` sends; if `reflects`, what leaves by uplinks comes back by the first of them.
    Send {
        from: u16,
        to: To,
        worker: usize,
        reflects: bool,
    },
    Wait(u64),
    Change(u16, Mode),
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![4 => (0..9u32).prop_map(To::Station), 2 => Just(To::All), 1 => Just(To::Group)]
}

fn step() -> impl Strategy<Value = Step> {
    let send = (0..7u16, to(), 0..2usize, any::<bool>());
    prop_oneof![
        8 => send.prop_map(|(from, to, worker, reflects)| Step::Send { from, to, worker, reflects }),
        1 => (0..1500u64).prop_map(Step::Wait),
        1 => (2..7u16, sample::select(&STATIONS[..])).prop_map(|(port, mode)| Step::Change(port, mode)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Two uplinks, 0 and 1, and five others: whatever happens, nothing passes between two that are no uplinks unless both
    /// are bridge ports, what comes back goes to who has not had it, and nobody gets his own.
    #[test]
    fn nobody_gets_what_is_not_for_him_or_what_is_his_own(
        modes in collection::vec((sample::select(&STATIONS[..]), any::<bool>()), 5),
        steps in collection::vec(step(), 1..60),
    ) {
        let ports = modes.into_iter().map(|(mode, isolated)| Port { apart: Apart::new(mode, isolated, false), ..port() });
        let mut yard = Yard::with(2, 8192, AGEING, [up(), up()].into_iter().chain(ports));
        let apart = |yard: &Yard, port: u16| yard.ports()[usize::from(port)].as_ref().expect("all are there").apart;
        for step in steps {
            let Step::Send { from, to, worker, reflects } = step else {
                match step {
                    Step::Wait(ms) => _ = yard.wait(Duration::from_millis(ms)),
                    Step::Change(port, mode) => yard.change(|ports| {
                        let Some(port) = &mut ports[usize::from(port)] else { return };
                        port.apart = Apart::new(mode, port.apart.is_isolated(), false);
                    }),
                    Step::Send { .. } => {}
                }
                continue;
            };
            let source = u32::from(from) + 1;
            let bytes = match to {
                To::Station(n) => unicast(n + 1, source),
                To::All => broadcast(source),
                To::Group => group(source),
            };
            let first = yard.goes_by(worker, from, &bytes);
            let own = apart(&yard, from);
            for &port in &first {
                let other = apart(&yard, port);
                let uplinks = [own, other].iter().any(|apart| apart.mode() == Mode::Uplink);
                prop_assert!(uplinks || own.mode() == Mode::Bridge && other.mode() == Mode::Bridge);
                prop_assert!(!(own.is_isolated() && other.is_isolated()));
            }
            if from < 2 {
                if reflects && first.contains(&(1 - from)) {
                    prop_assert_eq!(yard.goes_by(1 - worker, 1 - from, &bytes), Vec::<u16>::new());
                    prop_assert_eq!(yard.knows(station(source, 0)), Some(from));
                }
                continue;
            }
            prop_assert_eq!(yard.knows(station(source, 0)), Some(from));
            let everybody = !matches!(to, To::Station(n) if yard.knows(station(n + 1, 0)).is_some());
            let mut heard: BTreeSet<_> = first.iter().copied().filter(|&port| port > 1).collect();
            if let Some(&uplink) = first.iter().find(|&&port| port < 2 && reflects) {
                let back = yard.goes_by(1 - worker, uplink, &bytes);
                for port in back {
                    let other = apart(&yard, port);
                    prop_assert!(port > 1 && port != from);
                    prop_assert!(own.mode() != Mode::Private && other.mode() != Mode::Private);
                    prop_assert!(!(own.is_isolated() && other.is_isolated()));
                    prop_assert!(heard.insert(port), "it comes once");
                }
                prop_assert_eq!(yard.knows(station(source, 0)), Some(from), "it has not moved");
            }
            if everybody && reflects {
                let all: BTreeSet<_> = (2..7).filter(|&port| {
                    let other = apart(&yard, port);
                    port != from && own.mode() != Mode::Private && other.mode() != Mode::Private
                        && !(own.is_isolated() && other.is_isolated())
                }).collect();
                prop_assert_eq!(heard, all, "what is for all gets to all");
            }
        }
    }
}
