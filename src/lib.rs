//! Tapyard: a userspace L2/L3 virtual switch on TAP/TUN.
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | views over the bytes of frames |
//! | [`packet`] | frames in memory: buffer, offload state, batch, drop reasons, counters, segmentation and its reverse; IP packets read, rewritten, cut, and answered; frames described, filtered by expressions, and written as pcapng |
//! | [`tunnel`] | encapsulation for remote peers: VXLAN, GENEVE, GRE |
//! | [`table`] | bounded tables: the FDB and the workers' caches of it, neighbours, connections, routes, compiled rules, token buckets |
//! | [`switch`] | the core: (port, frames, now) in, (port, frames) and drops out; no I/O, no clock |
//! | [`port`] | where frames come from and go to: TAP, TUN, AF_PACKET, guests' sockets and rings, memory |
//! | [`sys`] | the only `unsafe` code: ioctls, sockets, namespaces, guests' memory |
//! | [`worker`] | the poll loop, what it spends its time on, and samplers |
//! | [`control`] | configuration, plan, API, control socket; captures, traces, exports, metrics, a page over HTTP; the log |
//! | [`cli`] | the `tapyard` command: its demo and benchmark, the live view, the doctor |
//!
//! Who may use whom: `wire` ← `packet` ← `table` ← `switch`, and `sys` ← `port`; both meet in `worker`, which is driven
//! by `control`, which is asked by `cli`. The core knows neither ports nor clocks, a port knows no switch.
//!
//! # A frame's walk
//!
//! From one guest's TAP to another's, all on one thread:
//!
//! 1. The descriptor becomes readable. `Worker::breathe` in [`worker`] finds it in `Worker::poll` and gives its port a
//!    `Worker::turn`.
//! 2. [`Port::rx`](port::Port::rx) (in [`port::tap`]) reads up to [`MAX_BATCH_FRAMES`](packet::MAX_BATCH_FRAMES) frames
//!    into the pooled buffers of a [`Batch`](packet::Batch). The virtio_net_hdr before each becomes
//!    [`Offload::from_header`](packet::Offload::from_header): a superframe stays one frame, an unfinished checksum stays
//!    unfinished.
//! 3. [`Switch::process`](switch::Switch::process) takes the batch through the stages, which `switch/stage/mod.rs` lists
//!    in order. *ingress* (`arrive`, `look`) counts each frame, has [`Offload::check`](packet::Offload::check) catch a
//!    header that lies, and tells the VLAN by `classify`.
//! 4. *bridge* (`Forwarding::decide`) learns the source and looks the destination up, both in the worker's own
//!    [`FdbCache`](table::fdb_cache::FdbCache); only a miss goes on to the shared [`Fdb`](table::fdb::Fdb)
//!    ([`Fdb::learn`](table::fdb::Fdb::learn), [`Fdb::lookup`](table::fdb::Fdb::lookup)). Then `unicast`, `multicast` or
//!    `spread` queue the frame's index for each port it leaves by; no payload is copied. What may pass between two ports is
//!    in [`switch::mode`], and what comes in by an uplink takes the way of `switch/stage/reflect.rs` first. A frame that goes
//!    nowhere has a [`DropReason`](packet::DropReason), counted at the port it came in by.
//! 5. [`Switch::transmit`](switch::Switch::transmit) has *egress* (`prepare`) make the frames of each out port fit: put
//!    the VLAN tag in or take it out in place, compare with the MTU, and, only where the port's
//!    [`Capabilities`](packet::Capabilities) lack what a frame needs, finish its checksum
//!    ([`finish_checksum`](packet::segment::finish_checksum)) or cut it ([`segment`](packet::segment::segment)).
//! 6. [`Port::tx`](port::Port::tx) writes them. What the device does not take is dropped there, with its reason.
//!
//! From one guest's rings to another's ([`port::vhost`]), there is nothing to read in step 1: a worker that is awake looks
//! into the rings (`Worker::look_around`, [`Port::peek`](port::Port::peek)), and before it sleeps it asks the guests to kick
//! ([`Port::arm`](port::Port::arm)). In step 2 only the headers of a long frame are copied; the rest stays
//! [`outside`](packet::Frame::outside), in the guest's memory, and the frame's [`bytes`](packet::Frame::bytes) end there.
//! Step 6 copies it from there into the other guest's memory, once. What has to see or to change more of a frame than its
//! headers takes it in before, by [`Frame::pull`](packet::Frame::pull): rules, guards, routers, tunnels, and *egress* for
//! every port whose [`Capabilities`](packet::Capabilities) do not have `outside`. When the batch is sent,
//! [`Port::release`](port::Port::release) gives the guest its buffers back.
//!
//! To a peer of a tunnel, step 4 finds the peer beside the port, and step 5 is another: `Wrapping::wrap` (in
//! `switch/stage/tunnel/wrap.rs`) cuts a superframe, has the [`Tunnel`](tunnel::Tunnel) write its header into the headroom
//! of each part, and makes [`Datagram`](packet::Datagram)s of them, one for each peer, which
//! [`Underlay::tx`](port::Underlay::tx) sends by the socket that tunnels share, as many in one system call as can be.
//! From there, [`Underlay::rx`](port::Underlay::rx) reads what the kernel has glued together, and
//! [`Switch::receive`](switch::Switch::receive) has `Unwrapping::unwrap` tell whose it is and put superframes together
//! ([`Coalescer`](packet::coalesce::Coalescer)); then the frames walk from step 3 on.
//!
//! # A routed packet's walk
//!
//! A frame for the MAC address of a bridge, in a VLAN where a [`Router`](switch::Router) has an
//! [`Interface`](switch::router::Interface), is no station's: in step 4 it goes to the worker's list of what waits for
//! routers, and so does what comes in by a port that carries IP where an interface is at that port. What is for all
//! stations is flooded as ever, and shown to the router too, which heeds ARP and neighbour discovery of it. Before step 5,
//! `Switch::settle` has each of these frames `take` its `Walk` (`switch/stage/route/mod.rs`):
//!
//! 1. [`Packet::of`](packet::Packet::of) reads the headers, whatever an offload left undone on them.
//! 2. `Walk::fast` looks for the flow in the worker's own `FlowCache` (`switch/router/flows.rs`). An entry holds while the
//!    topology is the same, no neighbour's address has changed ([`Neighbors::generation`](table::neighbors::Neighbors)), and
//!    the connection's [`Session::stamp`](table::conntrack::Session::stamp) is what it was. Then the packet is edited in
//!    place ([`rewrite::hop`](packet::rewrite::hop), [`Translation`](packet::rewrite::Translation)), a superframe as a
//!    whole, and step 6 follows at once.
//! 3. What is not known goes through `Walk::slow`: sanity and reverse path, parts of packets put together
//!    ([`Reassembly`](table::reassembly::Reassembly), each worker's own), the connection
//!    ([`Conntrack::lookup`](table::conntrack::Conntrack::lookup)).
//! 4. `Walk::pass` asks the hooks' [`Filter`](switch::router::Filter), compiled by a
//!    [`Classifier`](table::classifier::Classifier), translates the destination ([`Nat`](switch::router::Nat), `redirect`),
//!    looks the route up ([`Routes`](switch::router::Routes), an [`Lpm`](table::lpm::Lpm)), and translates the source
//!    (`translate`), where [`Conntrack::open`](table::conntrack::Conntrack::open) starts the connection. What is for the
//!    router itself is answered in `local.rs`; an error is made by [`icmp_error`](packet::icmp_error).
//! 5. The next hop's MAC address is in [`Neighbors`](table::neighbors::Neighbors), or the packet is kept there and
//!    `Walk::ask` sends the question. What is too long is cut ([`fragment`](packet::fragment)), or its sender told. Now the
//!    flow is put into the cache.
//! 6. `Walk::leave` puts the frame's addresses on it and has the bridge send it, or takes them off for a port that carries
//!    IP. It ends in the same queues as a bridged frame, and step 5 above makes it fit.
//!
//! What happens without a packet (questions asked again, connections that end, router advertisements) is in
//! [`Switch::handle_timeout`](switch::Switch::handle_timeout), due at
//! [`Switch::poll_timeout`](switch::Switch::poll_timeout). Rules of a bridge are asked in step 4 of the frame's walk, for each
//! port that it would leave by (`switch/stage/filter.rs`).
//!
//! After every batch, `rx_frames + copies = tx_frames + replied + Σ drops`
//! ([`Counters::conserved`](packet::Counters::conserved)).
//!
//! # How a frame is watched
//!
//! Who looks at real frames is a [`Watcher`](switch::watch::Watcher) on each worker. [`Command::Watch`](worker::Command::Watch)
//! puts it there, and it goes when control drops its `Watch` (`control/watching.rs`). With no watcher, the switch asks once
//! for a batch and once for a port that sends, and that is all.
//!
//! - It may *see* frames come in, leave and be dropped. `control/capture` has an observer copy them; a thread of the
//!   capture's own writes the copies as [`pcapng`](packet::pcapng).
//! - It may *pick* frames ([`Switch::carry`](switch::Switch::carry)): those before a picked one leave first, then it walks
//!   alone, and the watcher is told what became of it. A [`Sampler`](worker::Sampler) picks one in so many for the collectors
//!   of `control/export` (sFlow, IPFIX), and the follower of `tapyard trace --follow` what fits its filter. The counters of
//!   `control/talkers.rs` look at frames in the same way and follow none.
//!
//! Nobody waits for who takes what they gather: with no room for it, it is missed, and counted as missed.
//!
//! `tapyard trace` asks the pipeline itself. [`trial::walk`](switch::trial::walk) has the frame walk in a switch of its own,
//! on a topology whose tables are trials ([`Fdb::trial`](table::fdb::Fdb::trial),
//! [`Conntrack::trial`](table::conntrack::Conntrack::trial) and so on): lookups fall through to the real ones, what is
//! written stays. The stages note what they find ([`switch::walked`]), what became of the frame follows from the counters.
//! `--follow` notes the same of real frames, in the same words.
//!
//! A [`Mirror`](switch::mirror::Mirror) is no watcher, but part of the topology: `switch/stage/mirror.rs` copies what comes
//! in, right behind step 3 of a frame's walk, and hands what leaves to the port for copies as well, right before step 6.
//!
//! # A look's walk
//!
//! Whoever asks for counters, be it [`stats`](control::api::Request::Stats), `tapyard top`, Prometheus or the page, has each
//! worker send a [`Report`](worker::Report): a copy made between two batches. The HTTP listener ([`control::http`]) gives a
//! request to `control/site.rs`, a table of paths: `/metrics` is written by [`control::metrics`], `/api/…` answers as the
//! control socket does, of one snapshot for all who ask at about the same time. It has a `View` of the state, which changes
//! nothing. `tapyard doctor` judges such answers, and what [`control::host`] sees of the machine.
//!
//! # A change's walk
//!
//! `tapyard port add …`, `tapyard reload` and SIGHUP end in the same place:
//!
//! 1. The command ([`cli`]) is a [`Request`](control::api::Request), which [`Client::call`](control::client::Client::call)
//!    sends as a line of JSON. The [`Server`](control::server::Server) reads it, bounded in size and time, and hands it
//!    to its [`Handler`](control::server::Handler), which is the door of the [`Yard`](control::yard::Yard).
//! 2. `State::edit` changes a copy of the [`Document`](control::config::Document)
//!    ([`Document::port_add`](control::config::Document::port_add)), `State::reload` reads the file anew. Either becomes
//!    a checked [`Config`](control::config::Config) by [`Document::to_config`](control::config::Document::to_config), or
//!    is refused with its lines and keys.
//! 3. `State::apply` compares it with what runs ([`plan::diff`](control::plan::diff), a pure function), and opens what
//!    is new ([`tap::open`](port::tap::open), [`netdev::open`](port::netdev::open), the listener for metrics): here, and
//!    not on the workers. An error up to now leaves everything as it was; ports that had to be closed for their devices
//!    are opened again.
//! 4. `State::enact` makes the next [`Topology`](switch::Topology) and sends it with the new queues to every worker
//!    ([`Command::Change`](worker::Command::Change)), which takes both between two batches (`Worker::change`,
//!    [`Switch::set_topology`](switch::Switch::set_topology)). Ports that the plan does not name lose no frame. Routers are in
//!    it too, and mirrors: `Live::configure_routers` keeps what outlives a change (neighbours, connections, the slots of interfaces), and
//!    `control::routing` compiles routes, rules and translations anew. The workers forget their flows, and count on for
//!    rules that say the same.
//! 5. When all have taken it, what went is closed, exports begin and end (`State::change_exports`), and the answer carries
//!    the new epoch and the changes that were made.
//!
//! A guest that attaches to a socket, or leaves it, changes no configuration, but what its port can send, and whether
//! anything is flooded there. Its [`Attendant`](port::guest::Attendant), a thread of the port's own, writes that into the
//! [`Guest`](port::guest::Guest) and wakes the watcher (`control/yard/watcher.rs`), which goes on at step 4, without
//! queues. The watcher does the same for interfaces that come, go, or have another MTU
//! ([`LinkWatch`](port::watch::LinkWatch)).

pub mod cli;
pub mod control;
pub mod packet;
pub mod port;
pub mod switch;
pub mod sys;
pub mod table;
pub mod time;
pub mod tunnel;
pub mod wire;
pub mod worker;
