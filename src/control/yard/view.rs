//! The state as those see it who may change nothing.

use std::sync::{Mutex, Weak};

use serde_json::Value;

use super::{Reply, State, json, lock};
use crate::control::api::Request;

/// Shows the state of a switch, as long as it runs.
#[derive(Clone, Default)]
pub(in crate::control) struct View(Weak<Mutex<State>>);

impl View {
    pub(super) fn new(state: Weak<Mutex<State>>) -> View {
        View(state)
    }

    /// What `look` sees; `None` when the switch has ended. Everybody else waits meanwhile, so it looks and does no more.
    pub(in crate::control) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Option<T> {
        let state = self.0.upgrade()?;
        let state = lock(&state);
        Some(look(&state))
    }

    /// What the control socket would answer. A request that does more than look is refused.
    pub(in crate::control) fn ask(&self, request: Request) -> Result<Value, String> {
        if request.changes() {
            return Err("nothing can be changed from here (the commands do that)".into());
        }
        // These would have begun by the time that their answer is not taken.
        if matches!(request, Request::TunnelProbe { .. } | Request::Capture(_) | Request::TraceFollow(_)) {
            return Err("nothing can be begun from here (the commands do that)".into());
        }
        let state = self.0.upgrade().ok_or("the switch ends")?;
        let reply = lock(&state).answer(request)?;
        match reply {
            Reply::Now(value) => Ok(value),
            Reply::Trace(trace) => json(trace.walk()),
            Reply::Later(_) | Reply::Stream(..) | Reply::Host(_) => {
                Err("nothing is sent or looked for from here (the commands do that)".into())
            }
        }
    }
}
