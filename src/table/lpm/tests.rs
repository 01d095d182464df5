use core::net::IpAddr;

use proptest::prelude::*;
use proptest::{collection, sample};

use super::*;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn table(routes: &[(&str, u32)]) -> Lpm {
    Lpm::build(routes.iter().map(|&(text, value)| (prefix(text), value)))
}

#[test]
fn an_empty_table_knows_no_way() {
    let empty = Lpm::default();
    assert!(empty.is_empty());
    for text in ["0.0.0.0", "255.255.255.255", "::", "ffff::"] {
        assert_eq!(empty.lookup(address(text)), None);
        assert_eq!(empty.lookup_prefix(address(text)), None);
    }
}

#[test]
fn the_most_specific_route_counts() {
    let lpm = table(&[
        ("0.0.0.0/0", 1),
        ("10.0.0.0/8", 2),
        ("10.1.0.0/16", 3),
        ("10.1.2.0/24", 4),
        ("10.1.2.3/32", 5),
        ("::/0", 6),
        ("2001:db8::/32", 7),
        ("2001:db8:1::/48", 8),
        ("2001:db8:1::1/128", MAX_VALUE),
    ]);
    assert_eq!(lpm.len(), 9);
    for (text, route, value) in [
        ("9.255.255.255", "0.0.0.0/0", 1),
        ("10.2.0.0", "10.0.0.0/8", 2),
        ("10.1.3.0", "10.1.0.0/16", 3),
        ("10.1.2.2", "10.1.2.0/24", 4),
        ("10.1.2.3", "10.1.2.3/32", 5),
        ("10.1.2.4", "10.1.2.0/24", 4),
        ("2001:db7::", "::/0", 6),
        ("2001:db8:2::", "2001:db8::/32", 7),
        ("2001:db8:1::2", "2001:db8:1::/48", 8),
        ("2001:db8:1::1", "2001:db8:1::1/128", MAX_VALUE),
    ] {
        assert_eq!(lpm.lookup(address(text)), Some(value), "{text}");
        assert_eq!(lpm.lookup_prefix(address(text)), Some((prefix(route), value)), "{text}");
    }
}

#[test]
fn of_two_routes_for_one_prefix_the_last_counts() {
    let lpm = table(&[("10.0.0.0/8", 1), ("10.0.0.0/9", 2), ("10.0.0.0/8", 3)]);
    assert_eq!(lpm.lookup(address("10.200.0.0")), Some(3));
    assert_eq!(lpm.lookup(address("10.1.0.0")), Some(2));
    assert_eq!(lpm.len(), 2);
}

#[test]
fn a_default_route_is_one_of_its_version_only() {
    let v4 = table(&[("0.0.0.0/0", 1)]);
    assert_eq!([v4.lookup(address("255.0.0.1")), v4.lookup(address("::1"))], [Some(1), None]);
    let v6 = table(&[("::/0", 1)]);
    assert_eq!([v6.lookup(address("255.0.0.1")), v6.lookup(address("::1"))], [None, Some(1)]);
}

#[test]
#[should_panic(expected = "at most 2147483646")]
fn a_value_that_no_slot_can_hold_is_refused() {
    table(&[("0.0.0.0/0", MAX_VALUE + 1)]);
}

#[test]
fn a_small_table_is_small_and_a_lone_host_does_not_cost_a_node_for_every_six_bits() {
    let few = (0..10).map(|n| (Prefix::new(Address::v4(n * 0x0123_4567), 24), n));
    assert!(Lpm::build(few).bytes() < 4096);
    let hosts = (0..10).map(|n: u32| (Prefix::host(Address::from_bits(u128::from(n) << 120 | 1)), n));
    assert!(Lpm::build(hosts).bytes() < 4096);
}

/// What the table must say: all routes are looked at.
fn scan(routes: &[(Prefix, u32)], address: Address) -> Option<(Prefix, u32)> {
    let matching = routes.iter().filter(|(prefix, _)| {
        let ours = IpAddr::from(prefix.network).is_ipv4();
        let bits = if ours { prefix.len + 96 } else { prefix.len };
        let differ = (prefix.network.bits() ^ address.bits()).leading_zeros();
        ours == IpAddr::from(address).is_ipv4() && differ >= u32::from(bits)
    });
    // The last of the longest.
    matching.max_by_key(|(prefix, _)| prefix.len).copied()
}

/// Addresses that have many bits in common with each other.
fn any_address() -> impl Strategy<Value = Address> {
    let few = prop_oneof![Just(0u128), Just(u128::MAX), Just(0x2001_0db8 << 96), any::<u128>()];
    let v6 = (few, 0..128u32, any::<u128>(), 0..128u32).prop_map(|(base, flipped, noise, shift)| {
        Address::from_bits(base ^ 1 << flipped ^ (noise >> shift >> 1))
    });
    let v4 =
        (sample::select(vec![0u32, 0x0a00_0000, 0xc0a8_0100, u32::MAX]), 0..32u32, any::<u32>(), 0..32u32)
            .prop_map(|(base, flipped, noise, shift)| {
                Address::v4(base ^ 1 << flipped ^ (noise >> shift >> 1))
            });
    prop_oneof![v4, v6]
}

fn any_routes(most: usize) -> impl Strategy<Value = Vec<(Prefix, u32)>> {
    let len = prop_oneof![4 => 0..=128u8, 1 => Just(0), 1 => Just(24), 1 => Just(32), 1 => Just(128)];
    // A third of them are for a prefix that contains, or is contained in, one of the others.
    let route =
        (any_address(), len, 0..8u32).prop_map(|(address, len, value)| (Prefix::new(address, len), value));
    (collection::vec(route, 0..most), collection::vec((any::<sample::Index>(), 0..=128u8), 0..most / 2))
        .prop_map(|(mut routes, nested)| {
            for (of, len) in nested {
                if !routes.is_empty() {
                    let (prefix, value) = routes[of.index(routes.len())];
                    routes.push((Prefix::new(prefix.last(), len), value + 8));
                }
            }
            routes
        })
}

/// Asks for the addresses and for those at and just beyond both ends of every route.
fn agrees_with_scan(routes: &[(Prefix, u32)], addresses: &[Address]) {
    let lpm = Lpm::build(routes.iter().copied());
    let ends = routes.iter().flat_map(|(prefix, _)| {
        let [first, last] = [prefix.network.bits(), prefix.last().bits()];
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(Address::from_bits)
    });
    for address in ends.chain(addresses.iter().copied()) {
        let expected = scan(routes, address);
        assert_eq!(lpm.lookup(address), expected.map(|(_, value)| value), "{address}");
        assert_eq!(lpm.lookup_prefix(address), expected, "{address}");
    }
}

proptest! {
    #[test]
    fn a_lookup_finds_what_a_scan_of_all_routes_finds(
        routes in any_routes(60),
        addresses in collection::vec(any_address(), 40),
    ) {
        agrees_with_scan(&routes, &addresses);
    }
}

/// Tables of the sizes at which more bits are looked up at once, of prefixes close together.
#[test]
fn larger_tables_agree_with_a_scan_too() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state >> 32
    };
    for count in [1_023, 1_024, 65_536u32] {
        let routes: Vec<_> = (0..count)
            .map(|value| {
                let [bits, len] = [next(), next()];
                let prefix = match value % 2 {
                    0 => Prefix::new(Address::v4(bits as u32), 12 + (len % 21) as u8),
                    _ => Prefix::new(Address::from_bits(u128::from(bits) << 84), 12 + (len % 117) as u8),
                };
                (prefix, value % 5)
            })
            .collect();
        let lpm = Lpm::build(routes.iter().copied());
        for n in 0..200 {
            let address = match n % 2 {
                0 => Address::v4(next() as u32),
                _ => Address::from_bits(u128::from(next()) << 84 | u128::from(next())),
            };
            assert_eq!(lpm.lookup_prefix(address), scan(&routes, address), "{address} of {count}");
        }
    }
}
