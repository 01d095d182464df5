//! What the network says of peers, gathered until somebody asks.

use std::mem::{self, discriminant};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::port::{Trouble, What};
use crate::sys::datagrams::{Report, next_report};

/// Most troubles that are kept; of more the oldest go.
const MAX_TROUBLES: usize = 64;

/// Most reports that are taken out of a socket's queue in one go, so that a flood of ICMP cannot hold a worker.
const MAX_REPORTS: usize = 64;

/// The last trouble of each kind with each peer.
#[derive(Debug, Default)]
pub(super) struct Troubles(Vec<Trouble>);

impl Troubles {
    /// Takes in what a socket's queue of errors holds, and says whether any of it came from the network: then the error
    /// that a call gave may be that of an earlier datagram.
    #[cold]
    pub(super) fn drain(&mut self, socket: BorrowedFd<'_>) -> bool {
        let mut remote = false;
        for report in std::iter::from_fn(|| next_report(socket)).take(MAX_REPORTS) {
            remote |= report.remote;
            self.report(&report);
        }
        remote
    }

    fn report(&mut self, report: &Report) {
        let Some(to) = report.to else { return };
        match (report.errno, report.info) {
            (libc::EMSGSIZE, 0) => {}
            (libc::EMSGSIZE, mtu) => self.add(to, What::PathMtu(mtu.max(least_mtu(to)))),
            (errno, _) => self.add(to, What::Unreachable(errno)),
        }
    }

    /// Adds what is wrong with a peer; it takes the place of what was known of that kind.
    pub(super) fn add(&mut self, to: IpAddr, what: What) {
        self.0.retain(|known| known.to != to || discriminant(&known.what) != discriminant(&what));
        if self.0.len() == MAX_TROUBLES {
            self.0.remove(0);
        }
        self.0.push(Trouble { to, what });
    }

    /// All of them, oldest first; none are left.
    pub(super) fn take(&mut self) -> Vec<Trouble> {
        mem::take(&mut self.0)
    }
}

/// The least path MTU that the kernel believes anybody (`net.ipv4.route.min_pmtu`; RFC 8200 section 5): an ICMP message
/// is easily forged.
fn least_mtu(to: IpAddr) -> u32 {
    if to.is_ipv4() { 552 } else { 1280 }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a08_0000 + number).into()
    }

    #[test]
    fn the_newest_of_a_kind_stays() {
        let mut troubles = Troubles::default();
        troubles.add(peer(1), What::PathMtu(1400));
        troubles.add(peer(1), What::Unreachable(111));
        troubles.add(peer(1), What::PathMtu(1300));
        let expected =
            [What::Unreachable(111), What::PathMtu(1300)].map(|what| Trouble { to: peer(1), what });
        assert_eq!(troubles.take(), expected);
        assert_eq!(troubles.take(), []);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut troubles = Troubles::default();
        (0..1000).for_each(|number| troubles.add(peer(number), What::Unreachable(113)));
        let taken = troubles.take();
        assert_eq!((taken.len(), taken[0].to, taken[63].to), (64, peer(936), peer(999)));
    }

    #[test]
    fn an_mtu_that_nobody_has_is_not_believed() {
        let mut troubles = Troubles::default();
        let report = |to, info| Report { to: Some(to), errno: libc::EMSGSIZE, remote: true, info };
        troubles.report(&report(peer(1), 0));
        assert_eq!(troubles.take(), []);
        troubles.report(&report(peer(1), 20));
        troubles.report(&report("fd00::1".parse().unwrap(), 1000));
        let whats: Vec<_> = troubles.take().iter().map(|trouble| trouble.what).collect();
        assert_eq!(whats, [What::PathMtu(552), What::PathMtu(1280)]);
    }
}
