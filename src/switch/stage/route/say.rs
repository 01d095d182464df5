//! What a router says of a packet that somebody follows.

use super::Walk;
use crate::packet::DropReason;
use crate::switch::router::{Hook, NextHop, Route};
use crate::switch::walked::{self, Hop, Stage};
use crate::wire::address::Address;

impl Walk<'_> {
    /// Notes what `stage` says, if somebody wants to know.
    #[inline(always)]
    pub(super) fn say(&mut self, stage: Stage, text: impl FnOnce(&Self) -> String) {
        if self.outbox.watching.recorder.is_on() {
            self.note(stage, text);
        }
    }

    #[cold]
    #[inline(never)]
    fn note(&mut self, stage: Stage, text: impl FnOnce(&Self) -> String) {
        let text = text(self);
        self.outbox.watching.recorder.note(Hop::Router(self.id), stage, || text);
    }

    /// Notes what the rules of a hook have said, of those that matched from the one in place `before` on.
    pub(super) fn say_verdict(&mut self, hook: Hook, before: usize, verdict: Result<(), DropReason>) {
        self.say(Stage::Rule, |walk| {
            let matched = walk.routing.judged.rules.get(before..).unwrap_or_default();
            let verdict = verdict.map_or_else(DropReason::meaning, |()| "it passes");
            match walk.router.filter.is_open(hook) {
                true => format!("hook {}: has no rules; it passes", hook.name()),
                false => format!("hook {}: {}; {verdict}", hook.name(), walked::rules(matched)),
            }
        });
    }

    /// What the routes say of a destination.
    pub(super) fn route_text(&self, destination: Address, flow: u64) -> String {
        let router = self.router;
        let Some((prefix, route)) = router.routes.explain(destination) else {
            return format!("no route leads to {destination}");
        };
        let name = |id| self.topology.interface_name(self.id, id);
        let hop = |hop: &NextHop| match hop.via {
            Some(via) => format!("{via}, by interface {}", name(hop.interface)),
            None => format!("who is at the other end of interface {}", name(hop.interface)),
        };
        let what = match route {
            Route::Local => "it is the router's own".to_owned(),
            Route::Broadcast => "it is for all hosts of a network, which no router forwards".to_owned(),
            Route::Connected(interface) => format!("it is on the network of interface {}", name(*interface)),
            Route::Via(hops) => match (route.next_hop(flow), hops.len()) {
                (Some(next), 1) => format!("next is {}", hop(&next)),
                (Some(next), several) => format!("next is {}, one of {several} for this flow", hop(&next)),
                (None, _) => "it leads nowhere".to_owned(),
            },
            Route::Blackhole => "a blackhole".to_owned(),
            Route::Unreachable => "unreachable, which its sender is told".to_owned(),
            Route::Prohibit => "prohibited, which its sender is told".to_owned(),
        };
        format!("{destination} matches {prefix}: {what}")
    }
}
