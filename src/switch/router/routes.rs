//! Where packets go: the routes of a router, compiled for lookups.

use core::ops::Deref;

use crate::packet::InterfaceId;
use crate::table::lpm::{Lpm, Prefix};
use crate::wire::address::Address;

/// The routes of a router, those that follow from its addresses included.
pub struct Routes {
    lpm: Lpm,
    routes: Vec<Route>,
}

/// What becomes of packets to a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// They are for the router itself.
    Local,
    /// They are for all hosts of a network at once, which no router forwards (RFC 2644).
    Broadcast,
    /// They go to their destination, which is on the network of this interface.
    Connected(InterfaceId),
    /// They go to one of these, each flow always to the same.
    Via(Vec<NextHop>),
    /// They are dropped without a word.
    Blackhole,
    /// They are dropped, and their senders told that no route leads there.
    Unreachable,
    /// They are dropped, and their senders told that they may not go there.
    Prohibit,
}

/// A router that is next on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The interface that leads to it.
    pub interface: InterfaceId,
    /// Its address; `None` on an interface at whose other end is but one.
    pub via: Option<Address>,
}

impl Routes {
    /// Compiles routes. Of two for one prefix, the last counts.
    pub fn new(routes: impl IntoIterator<Item = (Prefix, Route)>) -> Routes {
        let (mut kept, mut numbers) = (Vec::<Route>::new(), Vec::new());
        for (prefix, route) in routes {
            // Tables of a million routes have a handful of next hops.
            let recent = kept.iter().rev().take(16).position(|known| *known == route);
            let number = match recent {
                Some(back) => kept.len() - 1 - back,
                None => {
                    kept.push(route);
                    kept.len() - 1
                }
            };
            numbers.push((prefix, number as u32));
        }
        Routes { lpm: Lpm::build(numbers), routes: kept }
    }

    /// The route to `address`.
    #[inline]
    pub fn lookup(&self, address: Address) -> Option<&Route> {
        self.routes.get(self.lpm.lookup(address)? as usize)
    }

    /// The same with the prefix that it is for.
    pub fn explain(&self, address: Address) -> Option<(Prefix, &Route)> {
        let (prefix, number) = self.lpm.lookup_prefix(address)?;
        Some((prefix, self.routes.get(number as usize)?))
    }
}

impl Route {
    /// Where a packet of a flow with this hash goes next; `None` when it goes nowhere.
    #[inline]
    pub fn next_hop(&self, flow: u64) -> Option<NextHop> {
        match self {
            Route::Connected(interface) => Some(NextHop { interface: *interface, via: None }),
            Route::Via(hops) => match hops.deref() {
                [only] => Some(*only),
                hops => hops.get(super::spread(flow, hops.len())).copied(),
            },
            _ => None,
        }
    }

    /// Whether packets may leave for it by `interface`.
    pub fn leaves_by(&self, interface: InterfaceId) -> bool {
        match self {
            Route::Connected(own) => *own == interface,
            Route::Via(hops) => hops.iter().any(|hop| hop.interface == interface),
            _ => false,
        }
    }
}
