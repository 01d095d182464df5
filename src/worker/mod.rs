//! The poll loop: one thread per worker, which owns one queue of every port and underlay and a [`Switch`] of its own.
//!
//! A worker runs to completion: it reads a batch, switches it and sends it before it looks at anything else, and never
//! hands a frame to another thread. Channels carry commands in and events out.
//!
//! Descriptors are watched edge-triggered: one that became readable is on the `ready` list until it was read dry, so a
//! port that is not drained in its turn is not forgotten, and one whose device is gone is taken off for good.

mod busy_poll;
mod message;
mod meter;
mod sample;
mod sampler;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender};
use foldhash::HashMap;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::packet::{Batch, DropReason, Location, PortId, Received};
use crate::port::{Port, Queue, Rx, Trouble, What};
use crate::switch::{self, Outgoing, Switch};
use crate::table::fdb::Generations;
use crate::time::Time;
use busy_poll::BusyPoll;
pub use message::{Activity, BATCH_SIZES, Change, Chore, Command, Echo, Event, Pause, Report};
use meter::Meter;
pub use sample::{Fate, Header, MAX_HEADER, Sample, Skips};
pub use sampler::{Place, Sampler};

/// Batches that a port may have in its turn, before the others have theirs.
const BUDGET: usize = 4;
/// Turns of all ready ports between two looks for further ones.
const TURNS_PER_POLL: u32 = 4;
/// How often in a row frames in rings may keep a worker from asking descriptors, which takes a system call.
const RINGS_ALONE: u32 = 16;
/// How long after an error a port is read again: the kernel wakes the reader of a TAP just before the TAP is gone.
const RECHECK: Duration = Duration::from_millis(10);
/// How long after control looked at a port's MTU it is not told of long frames again.
const TOO_LONG_PAUSE: Duration = Duration::from_secs(1);
/// With so many events waiting for control, flaps, echoes and troubles of peers are not told any more: anybody can make
/// any number of them. What concerns ports always is, there being no more of that than ports.
const MAX_WAITING: usize = 64;
/// How long a worker that waits looks into nothing but rings before it looks further, which is a system call, and lets
/// others have the core.
const RING_SPIN: Duration = Duration::from_micros(2);
const WAKER: Token = Token(usize::MAX);

/// A running worker, as control sees it. Dropping it ends the worker.
pub struct Handle {
    inbox: Inbox,
    thread: Option<JoinHandle<()>>,
}

/// Where a worker takes commands from. It may outlive the worker.
#[derive(Clone)]
pub struct Inbox {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Inbox {
    /// Gives the worker a command; it takes it between two batches, at once if it sleeps.
    pub fn send(&self, command: Command) {
        // It fails only when the thread has ended; then nobody waits for an answer in vain, since the sender of it is
        // dropped with the command.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Handle {
    /// Gives the worker a command, as [`Inbox::send`] does.
    pub fn send(&self, command: Command) {
        self.inbox.send(command);
    }

    /// The worker's inbox, for whoever has something to tell it later.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts worker number `index`. The first one also ages the FDBs. `busy_poll` is the longest time it goes on polling
/// after the last frame; zero: it sleeps at once. `origin` is what all workers count their time from.
pub fn start(
    index: usize,
    generations: Arc<Generations>,
    busy_poll: Duration,
    origin: Instant,
    happened: Sender<Event>,
) -> io::Result<Handle> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (commands, inbox) = crossbeam_channel::unbounded();
    let worker = Worker {
        index,
        poll,
        events: Events::with_capacity(256),
        inbox,
        happened,
        switch: if index == 0 { Switch::new(generations) } else { Switch::new(generations).following() },
        slots: Vec::new(),
        ready: Vec::new(),
        batch: Batch::default(),
        underlays: Vec::new(),
        rings: Vec::new(),
        only_rings: 0,
        received: Vec::new(),
        busy_poll: BusyPoll::new(busy_poll),
        origin,
        recheck: None,
        too_long: HashMap::default(),
        meter: Meter::default(),
        stopping: false,
    };
    let thread = thread::Builder::new().name(format!("tapyard-{index}")).spawn(move || worker.run())?;
    Ok(Handle { inbox: Inbox { commands, waker }, thread: Some(thread) })
}

struct Slot {
    queue: Queue,
    /// The epoch of the topology it came with.
    installed: u64,
    /// It is on the ready list.
    ready: bool,
    /// Something is wrong with its descriptor: it is read again at [`Worker::recheck`], however quiet it is.
    doubtful: bool,
    /// Its device is gone. Only control closes it: the kernel lets whoever does wait for a grace period, or for the
    /// removal of other devices.
    gone: bool,
}

struct Worker {
    index: usize,
    poll: Poll,
    events: Events,
    inbox: Receiver<Command>,
    happened: Sender<Event>,
    switch: Switch,
    slots: Vec<Option<Slot>>,
    /// Ports that may have frames, in the order of their turns.
    ready: Vec<PortId>,
    batch: Batch,
    /// Ports among the slots that are underlays.
    underlays: Vec<PortId>,
    /// Ports among the slots that share memory with who sends, and are looked at.
    rings: Vec<PortId>,
    /// How often in a row rings have had frames, so that descriptors were not asked; see [`RINGS_ALONE`].
    only_rings: u32,
    /// What an underlay said of the batch.
    received: Vec<Received>,
    busy_poll: BusyPoll,
    origin: Instant,
    /// When doubtful ports are read again.
    recheck: Option<Time>,
    /// When control was last told that frames are too long for a port.
    too_long: HashMap<PortId, Time>,
    meter: Meter,
    stopping: bool,
}

impl Worker {
    fn run(mut self) {
        while !self.stopping {
            self.breathe();
        }
    }

    fn breathe(&mut self) {
        self.take_commands();
        if self.stopping {
            return;
        }
        if let Some(due) = self.switch.poll_timeout()
            && let now = self.now()
            && due <= now
        {
            self.meter.begin_chore(now);
            self.run_timers();
            self.meter.chore(Chore::Timers, now, self.now());
        }
        if self.recheck.is_some_and(|due| due <= self.now()) {
            self.recheck_doubtful();
        }
        self.meter.look();
        for _ in 0..TURNS_PER_POLL {
            self.serve();
            if self.ready.is_empty() {
                return self.wait();
            }
        }
        self.look_at_rings();
        self.poll(Some(Duration::ZERO));
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            let since = self.now();
            self.meter.begin_chore(since);
            let chore = match command {
                Command::Change(change) => {
                    self.change(change);
                    Chore::Change
                }
                Command::Report(to) => {
                    let _ = to.send(self.report());
                    Chore::Report
                }
                Command::Probe { at, token, size } => {
                    self.probe(at, token, size);
                    Chore::Probe
                }
                Command::Watch(id, watcher) => {
                    self.switch.watch(id, watcher);
                    Chore::Watch
                }
                Command::Unwatch(id) => {
                    self.switch.unwatch(id);
                    Chore::Watch
                }
                Command::Stop => return self.stopping = true,
            };
            self.meter.chore(chore, since, self.now());
        }
    }

    fn probe(&mut self, at: Location, token: u64, size: usize) {
        let now = self.now();
        self.batch.clear();
        let before = self.switch.counters(at.port).clone();
        let not_sent = if self.switch.probe(at, token, size, &mut self.batch, now) {
            self.transmit();
            self.note_troubles(now);
            let after = self.switch.counters(at.port);
            after.drops().find(|&(reason, frames)| frames > before.dropped(reason)).map(|(reason, _)| reason)
        } else {
            Some(DropReason::PortMissing)
        };
        if let Some(reason) = not_sent {
            let _ = self.happened.send(Event::NotSent { token, reason });
        }
    }

    fn change(&mut self, change: Change) {
        let gone = change.remove.iter().filter_map(|&id| self.withdraw(id)).collect();
        self.switch.set_topology(change.topology);
        for (id, watcher) in change.watchers {
            self.switch.rewatch(id, watcher);
        }
        for (id, port) in change.install {
            self.install(id, port);
        }
        self.run_timers();
        let _ = change.done.send(gone);
    }

    fn install(&mut self, id: PortId, queue: Queue) {
        if let Some(fd) = queue.fd() {
            let watched =
                self.poll.registry().register(&mut SourceFd(&fd), Token(id.index()), Interest::READABLE);
            if let Err(error) = watched {
                tracing::error!(worker = self.index, slot = id.0, %error, "cannot watch the descriptor of a port");
            }
        }
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        match &queue {
            Queue::Underlay(_) => self.underlays.push(id),
            Queue::Port(port) if port.shares_memory() => self.rings.push(id),
            Queue::Port(_) => {}
        }
        let installed = self.switch.topology().epoch;
        self.slots[id.index()] = Some(Slot { queue, installed, ready: false, doubtful: false, gone: false });
        make_ready(&mut self.slots, &mut self.ready, id);
    }

    /// Takes a port's queue out of the loop.
    fn withdraw(&mut self, id: PortId) -> Option<Queue> {
        let slot = self.slots.get_mut(id.index())?.take()?;
        self.ready.retain(|&ready| ready != id);
        self.underlays.retain(|&underlay| underlay != id);
        self.rings.retain(|&ring| ring != id);
        if !slot.gone {
            unwatch(&self.poll, &slot.queue);
        }
        Some(slot.queue)
    }

    /// Gives every ready port a turn, and keeps those that are not drained.
    fn serve(&mut self) {
        let mut at = 0;
        while at < self.ready.len() {
            let id = self.ready[at];
            match self.turn(id) {
                Rx::More => at += 1,
                ended => {
                    self.ready.remove(at);
                    self.leave(id, ended);
                }
            }
        }
    }

    fn turn(&mut self, id: PortId) -> Rx {
        let now = self.now();
        self.meter.turn(now);
        let mut state = Rx::More;
        for _ in 0..BUDGET {
            let Some(slot) = &mut self.slots[id.index()] else { return Rx::Drained };
            self.batch.clear();
            self.received.clear();
            let counters = self.switch.counters(id);
            state = match &mut slot.queue {
                Queue::Port(port) => port.rx(&mut self.batch, counters),
                Queue::Underlay(underlay) => underlay.rx(&mut self.batch, &mut self.received, counters),
            };
            if !self.batch.is_empty() {
                self.meter.batch(self.batch.len());
                let (slots, ready, batch) = (&mut self.slots, &mut self.ready, &mut self.batch);
                let send =
                    |out, batch: &mut Batch, frames: Outgoing<'_>| hand(slots, ready, out, batch, frames);
                match self.received.is_empty() {
                    true => self.switch.carry(id, batch, now, send),
                    false => self.switch.carry_received(id, batch, &self.received, now, send),
                }
                if let Some(Slot { queue: Queue::Port(port), .. }) = &mut self.slots[id.index()] {
                    port.release(&mut self.batch);
                }
            }
            if state != Rx::More {
                break;
            }
        }
        self.tell(now);
        self.note_troubles(now);
        state
    }

    /// Tells control what the switch has noticed.
    fn tell(&mut self, now: Time) {
        for event in self.switch.take_events() {
            if let switch::Event::TooLong(port) = event {
                let told = self.too_long.entry(port).or_insert(now);
                if *told != now && now.since(*told) < TOO_LONG_PAUSE {
                    continue;
                }
                *told = now;
            }
            let is_of_ports = matches!(event, switch::Event::TooLong(_));
            if is_of_ports || self.happened.len() < MAX_WAITING {
                let _ = self.happened.send(Event::Switch(event));
            }
        }
    }

    /// Notes, and tells control, what underlays have heard of peers.
    fn note_troubles(&mut self, now: Time) {
        for &underlay in &self.underlays {
            let Some(Some(Slot { queue: Queue::Underlay(queue), .. })) = self.slots.get_mut(underlay.index())
            else {
                continue;
            };
            for Trouble { to, what } in queue.take_troubles() {
                match what {
                    What::Unreachable(errno) => self.switch.unreachable(underlay, to, errno, now),
                    What::PathMtu(_) if self.happened.len() < MAX_WAITING => {
                        let _ = self.happened.send(Event::PathMtu { to });
                    }
                    What::PathMtu(_) => {}
                }
            }
        }
    }

    fn transmit(&mut self) {
        let (slots, ready) = (&mut self.slots, &mut self.ready);
        self.switch.transmit(&mut self.batch, |out, batch, frames| hand(slots, ready, out, batch, frames));
    }

    fn leave(&mut self, id: PortId, ended: Rx) {
        let Some(Some(slot)) = self.slots.get_mut(id.index()) else { return };
        slot.ready = false;
        if ended == Rx::Gone {
            slot.gone = true;
            let _ = self.happened.send(Event::Gone { port: id, installed: slot.installed });
            unwatch(&self.poll, &slot.queue);
        }
    }

    /// Polls busily for a while, then sleeps until something happens or a timer is due.
    fn wait(&mut self) {
        let since = self.now();
        self.meter.idle(since);
        let window = self.busy_poll.window();
        let mut passed = Duration::ZERO;
        while passed < window {
            let look_further = passed + if self.rings.is_empty() { Duration::ZERO } else { RING_SPIN };
            if self.look_around(since, look_further) {
                self.meter.busy_hit();
                return self.stop_waiting(since);
            }
            // Whoever else wants this core is who the next frame comes from.
            thread::yield_now();
            passed = self.now().since(since);
        }
        if self.arm_rings() {
            // However often that happens, the other ports have their turn.
            self.poll(Some(Duration::ZERO));
            return self.stop_waiting(since);
        }
        self.meter.sleep();
        let due = [self.switch.poll_timeout(), self.recheck].into_iter().flatten().min();
        let timeout = due.map(|due| due.since(self.now()));
        match self.poll(timeout) {
            true => self.stop_waiting(since),
            false => self.meter.wake(self.now()),
        }
    }

    /// Something has happened that was waited for.
    fn stop_waiting(&mut self, since: Time) {
        let now = self.now();
        self.busy_poll.gap(now.since(since));
        self.meter.wake(now);
    }

    /// Looks for ports that have frames; true when there are some. Rings cost nothing to look at, and come first, until so
    /// much time has passed `since`. But where they have something each time, other ports have their turn too.
    fn look_around(&mut self, since: Time, until: Duration) -> bool {
        let in_rings = loop {
            if self.look_at_rings() {
                break true;
            }
            if self.now().since(since) >= until {
                break false;
            }
            std::hint::spin_loop();
        };
        if in_rings && self.only_rings < RINGS_ALONE {
            self.only_rings += 1;
            return true;
        }
        self.poll(Some(Duration::ZERO)) || in_rings
    }

    /// Puts ports on the ready list in whose rings frames wait; true when there are some.
    fn look_at_rings(&mut self) -> bool {
        self.ask_rings(|port| port.peek())
    }

    /// Has the ports that share memory be woken from now on; true when frames have come before that.
    fn arm_rings(&mut self) -> bool {
        self.ask_rings(|port| port.arm())
    }

    fn ask_rings(&mut self, ask: impl Fn(&mut dyn Port) -> bool) -> bool {
        let mut any = false;
        for &id in &self.rings {
            if let Some(Some(Slot { queue: Queue::Port(port), gone: false, .. })) =
                self.slots.get_mut(id.index())
                && ask(&mut **port)
            {
                make_ready(&mut self.slots, &mut self.ready, id);
                any = true;
            }
        }
        any
    }

    /// Puts the ports that became readable on the ready list; true when anything happened at all.
    fn poll(&mut self, timeout: Option<Duration>) -> bool {
        self.only_rings = 0;
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(worker = self.index, %error, "cannot poll, and ends");
            self.stopping = true;
        }
        for event in &self.events {
            if event.token() == WAKER {
                continue;
            }
            let id = PortId(event.token().0 as u16);
            make_ready(&mut self.slots, &mut self.ready, id);
            if event.is_error()
                && let Some(Some(slot)) = self.slots.get_mut(id.index())
            {
                slot.doubtful = true;
                self.recheck = Some(Time::ZERO + self.origin.elapsed() + RECHECK);
            }
        }
        !self.events.is_empty()
    }

    fn recheck_doubtful(&mut self) {
        self.recheck = None;
        for index in 0..self.slots.len() {
            if let Some(slot) = &mut self.slots[index]
                && std::mem::take(&mut slot.doubtful)
            {
                make_ready(&mut self.slots, &mut self.ready, PortId(index as u16));
            }
        }
    }

    fn run_timers(&mut self) {
        let now = self.now();
        self.batch.clear();
        self.switch.handle_timeout(&mut self.batch, now);
        self.transmit();
    }

    fn report(&self) -> Report {
        Report {
            worker: self.index,
            ports: self.switch.all_counters().map(|(id, counters)| (id, counters.clone())).collect(),
            retired: self.switch.retired().clone(),
            peers: self.switch.all_peers().map(|(at, counters)| (at, *counters)).collect(),
            intruders: self.switch.all_intruders().collect(),
            options: self.switch.all_options().map(|(at, options)| (at, options.to_vec())).collect(),
            rules: self.switch.rule_counters().to_vec(),
            fragments: self.switch.fragments(),
            mirrors: self.switch.mirror_counters().to_vec(),
            activity: self.meter.activity(self.now()),
        }
    }
}

fn unwatch(poll: &Poll, queue: &Queue) {
    if let Some(fd) = queue.fd() {
        // It fails when it could not be watched in the first place: nothing is left to do.
        let _ = poll.registry().deregister(&mut SourceFd(&fd));
    }
}

/// Hands a port what it is to send.
fn hand(
    slots: &mut [Option<Slot>],
    ready: &mut Vec<PortId>,
    out: PortId,
    batch: &mut Batch,
    outgoing: Outgoing<'_>,
) {
    let there = slots.get_mut(out.index()).and_then(Option::as_mut).filter(|slot| !slot.gone);
    match (outgoing, there.map(|slot| &mut slot.queue)) {
        (Outgoing::Frames(frames, counters), Some(Queue::Port(port))) => {
            let missing = counters.dropped(DropReason::PortMissing);
            port.tx(batch, frames, counters);
            // Of some devices only a write learns that they are gone; reading then says so.
            if counters.dropped(DropReason::PortMissing) != missing {
                make_ready(slots, ready, out);
            }
        }
        (Outgoing::Datagrams(datagrams), Some(Queue::Underlay(underlay))) => underlay.tx(batch, datagrams),
        (Outgoing::Frames(frames, counters), _) => {
            frames.iter().for_each(|_| counters.drop(DropReason::PortMissing));
        }
        (Outgoing::Datagrams(datagrams), _) => {
            datagrams.iter_mut().for_each(|datagram| datagram.outcome = Err(DropReason::PortMissing));
        }
    }
}

/// Puts a port on the ready list, unless it is there or its device is gone.
fn make_ready(slots: &mut [Option<Slot>], ready: &mut Vec<PortId>, id: PortId) {
    if let Some(Some(slot)) = slots.get_mut(id.index())
        && !slot.ready
        && !slot.gone
    {
        slot.ready = true;
        ready.push(id);
    }
}

#[cfg(test)]
mod tests;
