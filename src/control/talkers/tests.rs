use super::*;

/// A frame of `len` bytes of UDP between two addresses.
fn frame(from: u8, to: u8, len: usize) -> Frame {
    let build = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, from], [2, 0, 0, 0, 0, to])
        .ipv4([10, 0, 0, from], [10, 0, 0, to], 64)
        .udp(1000, 2000);
    let mut bytes = Vec::new();
    let headers = build.size(0);
    build.write(&mut bytes, &vec![0; len - headers]).unwrap();
    Frame::from_bytes(&bytes)
}

fn counter() -> Counter {
    Counter::new(Arc::default(), Arc::new(AtomicU64::new(Time::from_secs(100).nanos())))
}

/// Lets a batch of frames come in, as the switch shows it.
fn pass(counter: &mut Counter, frame: &Frame, times: usize, now: Time) {
    if !counter.passes_over(PortId(3), times) {
        (0..times).for_each(|_| assert!(!counter.pick(PortId(3), frame, now)));
    }
}

#[test]
fn a_conversation_is_told_by_its_ends() {
    let whose = Conversation::of(PortId(3), &frame(1, 2, 100));
    let mac = |n| Mac::new([2, 0, 0, 0, 0, n]);
    assert_eq!(whose.stations, Some((mac(1), mac(2))));
    assert_eq!(whose.ends, Some(([10, 0, 0, 1].into(), [10, 0, 0, 2].into())));
    assert_eq!((whose.protocol, whose.numbers), (Some(17), Some((1000, 2000))));
    for end in 0..60 {
        Conversation::of(PortId(3), &Frame::from_bytes(&frame(1, 2, 60).bytes()[..end]));
    }
}

#[test]
fn slow_conversations_are_counted_and_fast_ones_estimated() {
    let mut counter = counter();
    let (slow, fast) = (frame(1, 2, 100), frame(3, 4, 200));
    let (begin, end) = (Time::from_secs(10), Time::from_secs(11));
    pass(&mut counter, &slow, 7, begin);
    for _ in 0..20_000 {
        pass(&mut counter, &fast, 32, begin);
    }
    pass(&mut counter, &slow, 200, end);
    let table = counter.table.lock().unwrap();
    assert_eq!(table.lasted, WINDOW);
    let of = |frame| table.last[&Conversation::of(PortId(3), frame)];
    assert_eq!((of(&slow).frames, of(&slow).bytes), (7, 700));
    let ratio = of(&fast).frames as f64 / 640_000.0;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    assert_eq!(of(&fast).bytes, of(&fast).frames * 200);
    assert_eq!(table.whole(end + 2 * WINDOW).count(), 2);
    assert_eq!(table.whole(end + 3 * WINDOW).count(), 0, "nothing came since");
}

#[test]
fn a_full_table_keeps_the_largest() {
    let mut table = Table::default();
    let whose =
        |n: u16| Conversation { port: PortId(n), stations: None, ends: None, protocol: None, numbers: None };
    (0..10).for_each(|n| table.count(whose(n), 1, 1_000_000));
    (10..60_000).for_each(|n| table.count(whose(n), 1, 60));
    assert!((0..10).all(|n| table.current.contains_key(&whose(n))));
    assert!(table.current.len() <= MAX_CONVERSATIONS);
}

#[test]
fn it_ends_when_nobody_has_asked_for_long() {
    let mut counter = counter();
    pass(&mut counter, &frame(1, 2, 100), 1, Time::from_secs(99));
    assert!(!counter.is_over());
    counter.until.store(Time::from_secs(100).nanos(), Ordering::Relaxed);
    pass(&mut counter, &frame(1, 2, 100), 1, Time::from_secs(101));
    assert!(counter.is_over());
}
