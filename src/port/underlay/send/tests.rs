//! What becomes of datagrams, with a script in the kernel's place.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::packet::{Offload, PeerId, PortId};
use crate::port::Trouble;

/// What the kernel answers to one call.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// It takes so many messages, at least one; all, when there are fewer.
    Take(usize),
    /// It gives this error, and its queue has something from the network or not.
    Fail(i32, bool),
}
use Answer::{Fail, Take};

/// A line that answers by a list, and takes all when that is through.
#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    remote: bool,
    /// The messages that were asked for in each call: the length of a segment, if any, and all the bytes.
    asked: Vec<Vec<(Option<u16>, usize)>>,
    /// The first byte of each datagram that was taken.
    taken: Vec<u8>,
    drained: usize,
}

impl Script {
    fn new(answers: &[Answer]) -> Script {
        Script { answers: answers.iter().copied().collect(), ..Script::default() }
    }
}

impl Line for Script {
    fn send(&mut self, messages: &[Message], pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut rest = pieces;
        let mut parts = Vec::new();
        for message in messages {
            let (own, others) = rest.split_at(message.pieces);
            parts.push(own);
            rest = others;
        }
        assert!(rest.is_empty() && !messages.is_empty());
        let len = |own: &&[IoSlice<'_>]| own.iter().map(|piece| piece.len()).sum();
        self.asked.push(messages.iter().zip(&parts).map(|(m, own)| (m.segment, len(own))).collect());
        match self.answers.pop_front().unwrap_or(Take(usize::MAX)) {
            Take(count) => {
                let count = count.min(messages.len());
                self.taken.extend(parts[..count].concat().iter().map(|piece| piece[0]));
                Ok(count)
            }
            Fail(errno, remote) => {
                self.remote = remote;
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    fn drain(&mut self, _troubles: &mut Troubles) -> bool {
        self.drained += 1;
        std::mem::take(&mut self.remote)
    }
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 2));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 3));

fn datagram(frame: usize, to: IpAddr) -> Datagram {
    Datagram {
        frame: frame as u32,
        tunnel: PortId(1),
        peer: PeerId(0),
        to,
        port: 4789,
        flow: 0,
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        checksum: true,
        // None that sending gives.
        outcome: Err(DropReason::Local),
    }
}

/// Sends frames of these lengths, whose first byte is their number, and gives what became of them.
fn run(
    line: &mut Script,
    glues: &mut bool,
    frames: &[(usize, IpAddr)],
) -> (Vec<Result<(), DropReason>>, Vec<Trouble>) {
    run_as(line, glues, frames, true)
}

/// The same for such as the network may fragment, or not.
fn run_as(
    line: &mut Script,
    glues: &mut bool,
    frames: &[(usize, IpAddr)],
    dont_fragment: bool,
) -> (Vec<Result<(), DropReason>>, Vec<Trouble>) {
    let (mut batch, mut troubles) = (Batch::default(), Troubles::default());
    for (number, (len, _)) in frames.iter().enumerate() {
        let index = batch.add().unwrap();
        batch.frames_mut()[index].fill(&vec![number as u8; *len], Offload::NONE);
    }
    let datagram =
        |(number, (_, to)): (usize, &(usize, IpAddr))| Datagram { dont_fragment, ..datagram(number, *to) };
    let mut datagrams: Vec<_> = frames.iter().enumerate().map(datagram).collect();
    let queue: Vec<u32> = (0..frames.len() as u32).collect();
    send(line, glues, &batch, &mut datagrams, &queue, &mut troubles);
    (datagrams.iter().map(|datagram| datagram.outcome).collect(), troubles.take())
}

const OK: Result<(), DropReason> = Ok(());
const TOO_LONG: Result<(), DropReason> = Err(DropReason::ExceedsMtu);

#[test]
fn when_the_kernel_refuses_glued_ones_they_go_one_by_one_from_then_on() {
    for errno in [libc::EINVAL, libc::EIO] {
        let (mut line, mut glues) = (Script::new(&[Fail(errno, false)]), true);
        let frames = [(100, PEER), (100, PEER), (60, PEER), (100, OTHER), (100, OTHER)];
        assert_eq!(run(&mut line, &mut glues, &frames), (vec![OK; 5], vec![]));
        let single = |len| (None, len);
        assert_eq!(line.asked[0], [(Some(100), 260), (Some(100), 200)]);
        assert_eq!(line.asked[1], [single(100), single(100), single(60)]);
        assert_eq!(line.asked[2], [single(100), single(100)]);
        assert_eq!(line.taken, [0, 1, 2, 3, 4]);
        assert!(!glues);
        run(&mut line, &mut glues, &frames[..2]);
        assert_eq!(line.asked[3], [single(100), single(100)]);
    }
}

#[test]
fn a_refusal_that_is_about_the_length_is_not_held_against_gluing() {
    // Older kernels say EINVAL of a segment that is too long.
    for answers in [
        &[Fail(libc::EINVAL, false), Fail(libc::EMSGSIZE, false), Fail(libc::EMSGSIZE, false)][..],
        &[
            Fail(libc::EMSGSIZE, false),
            Fail(libc::EMSGSIZE, false),
            Fail(libc::EMSGSIZE, false),
            Fail(libc::EMSGSIZE, false),
        ],
    ] {
        let (mut line, mut glues) = (Script::new(answers), true);
        let frames = [(100, PEER), (100, PEER), (100, PEER), (60, PEER), (60, PEER), (60, PEER)];
        let (outcomes, _) = run(&mut line, &mut glues, &frames);
        assert_eq!(outcomes, [TOO_LONG, TOO_LONG, TOO_LONG, OK, OK, OK], "{:?}", line.asked);
        assert_eq!(line.taken, [3, 4, 5]);
        assert!(glues);
        assert_eq!(line.asked.last().unwrap(), &[(Some(60), 120)]);
    }
}

#[test]
fn nor_is_one_of_what_alone_can_be_fragmented() {
    let (mut line, mut glues) = (Script::new(&[Fail(libc::EINVAL, false)]), true);
    let frames = [(9000, PEER), (9000, PEER)];
    assert_eq!(run_as(&mut line, &mut glues, &frames, false), (vec![OK; 2], vec![]));
    assert_eq!(line.asked, [vec![(Some(9000), 18_000)], vec![(None, 9000); 2]]);
    assert!(glues);
    let (mut line, mut glues) = (Script::new(&[Fail(libc::EIO, false)]), true);
    run_as(&mut line, &mut glues, &frames, false);
    assert!(!glues, "whatever is sent");
}

#[test]
fn an_error_of_an_earlier_datagram_is_not_held_against_this_one() {
    for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EMSGSIZE, libc::ENOPROTOOPT] {
        for remote in [true, false] {
            let (mut line, mut glues) = (Script::new(&[Fail(errno, remote)]), true);
            assert_eq!(run(&mut line, &mut glues, &[(100, PEER); 3]), (vec![OK; 3], vec![]));
            assert_eq!(line.asked, [[(Some(100), 300)], [(Some(100), 300)]]);
        }
    }
    // However many come, as long as the network says something each time; but not for ever.
    let (mut line, mut glues) = (Script::new(&[Fail(libc::ECONNREFUSED, true); 8]), true);
    assert_eq!(run(&mut line, &mut glues, &[(9, PEER)]).0, [OK]);
    let (mut line, mut glues) = (Script::new(&[Fail(libc::ECONNREFUSED, true); 9]), true);
    let frames = [(9, PEER), (9, PEER), (9, OTHER)];
    let (outcomes, troubles) = run(&mut line, &mut glues, &frames);
    assert_eq!(outcomes, [Err(DropReason::Unreachable), Err(DropReason::Unreachable), OK]);
    assert_eq!(troubles, [Trouble { to: PEER, what: What::Unreachable(libc::ECONNREFUSED) }]);
}

#[test]
fn of_what_is_taken_in_part_the_rest_is_sent_again() {
    let (mut line, mut glues) = (Script::new(&[Take(1), Take(2), Fail(libc::EINTR, false)]), true);
    // Lengths that cannot be glued.
    let frames: Vec<_> = (0..6).map(|n| (10 + n, PEER)).collect();
    assert_eq!(run(&mut line, &mut glues, &frames), (vec![OK; 6], vec![]));
    assert_eq!(line.taken, [0, 1, 2, 3, 4, 5]);
    assert_eq!(line.asked.iter().map(Vec::len).collect::<Vec<_>>(), [6, 5, 3, 3]);
    assert_eq!(line.drained, 3, "whatever stopped it is told by the queue");
}

#[test]
fn a_full_queue_drops_the_rest_and_a_refusal_one_message() {
    for errno in [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM] {
        let (mut line, mut glues) = (Script::new(&[Take(1), Fail(errno, false)]), true);
        let (outcomes, _) = run(&mut line, &mut glues, &[(9, PEER), (9, OTHER), (9, PEER)]);
        assert_eq!(outcomes, [OK, Err(DropReason::QueueFull), Err(DropReason::QueueFull)]);
    }
    let (mut line, mut glues) = (Script::new(&[Fail(libc::EPERM, false)]), true);
    let (outcomes, troubles) = run(&mut line, &mut glues, &[(9, PEER), (9, PEER), (9, OTHER)]);
    assert_eq!(outcomes, [Err(DropReason::Refused), Err(DropReason::Refused), OK]);
    assert_eq!((troubles, glues), (vec![], true));
}

#[test]
fn a_message_is_no_larger_than_the_kernel_takes() {
    let (mut line, mut glues) = (Script::default(), true);
    run(&mut line, &mut glues, &[(10, PEER); 200]);
    let expected = [(Some(10), 640), (Some(10), 640), (Some(10), 640), (Some(10), 80)];
    assert_eq!(line.asked, [expected]);
    // 46 of 1,400 bytes are 64,400; one more would be past what an IPv4 packet holds.
    let (mut line, mut glues) = (Script::default(), true);
    run(&mut line, &mut glues, &[(1400, PEER); 47]);
    assert_eq!(line.asked, [[(Some(1400), 64_400), (None, 1400)]]);
    let (mut line, mut glues) = (Script::default(), true);
    run(&mut line, &mut glues, &[(32_753, PEER), (32_754, PEER), (32_753, PEER)]);
    assert_eq!(line.asked, [[(None, 32_753), (Some(32_754), 65_507)]]);
}

#[test]
fn what_differs_is_not_glued() {
    let mut batch = Batch::default();
    for _ in 0..8 {
        let index = batch.add().unwrap();
        batch.frames_mut()[index].fill(&[1; 50], Offload::NONE);
    }
    let plain = datagram(0, PEER);
    let mut datagrams = [
        plain,
        Datagram { to: OTHER, ..plain },
        Datagram { to: OTHER, port: 6081, ..plain },
        Datagram { tos: 4, ..plain },
        Datagram { tos: 4, ttl: 9, ..plain },
        Datagram { tos: 4, ttl: 0, ..plain },
        Datagram { checksum: false, ..plain },
        Datagram { checksum: false, ..plain },
    ];
    let parcel = Parcel::new(&batch, &datagrams, &[0, 1, 2, 3, 4, 5], true, 0);
    let beside: Vec<_> = parcel.messages().iter().map(|m| (m.to.port(), m.segment, m.tos, m.ttl)).collect();
    let expected = [
        (4789, None, None, None),
        (4789, None, None, None),
        (6081, None, None, None),
        (4789, None, Some(4), None),
        (4789, None, Some(4), Some(9)),
        // A TTL of 0 the kernel would refuse.
        (4789, None, Some(4), Some(1)),
    ];
    assert_eq!(beside, expected);
    // UDP_SEGMENT needs a checksum.
    let (mut line, mut troubles) = (Script::default(), Troubles::default());
    send(&mut line, &mut true, &batch, &mut datagrams, &[6, 7], &mut troubles);
    assert_eq!(line.asked, [[(None, 50), (None, 50)]]);
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let errno = prop::sample::select(vec![
        libc::EMSGSIZE,
        libc::EINVAL,
        libc::EIO,
        libc::ECONNREFUSED,
        libc::ENETUNREACH,
        libc::EPERM,
        libc::EINTR,
        libc::EAGAIN,
        0,
    ]);
    let answer = prop_oneof![
        4 => (1usize..6).prop_map(Take),
        6 => (errno, any::<bool>()).prop_map(|(errno, remote)| Fail(errno, remote)),
    ];
    prop::collection::vec(answer, 0..60)
}

proptest! {
    #[test]
    fn whatever_the_kernel_says_each_has_one_outcome_and_was_sent_if_that_says_so(
        answers in answers(),
        frames in prop::collection::vec((1usize..4, prop::sample::select(vec![PEER, OTHER])), 0..200),
    ) {
        let mut line = Script::new(&answers);
        let (outcomes, _) = run(&mut line, &mut true, &frames);
        prop_assert!(!outcomes.contains(&Err(DropReason::Local)), "{outcomes:?}");
        let sent: Vec<_> = (0..frames.len()).filter(|&n| outcomes[n].is_ok()).map(|n| n as u8).collect();
        prop_assert_eq!(line.taken, sent);
    }
}
