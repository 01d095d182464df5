//! What rules have matched, of routers and of bridges.

use foldhash::HashMap;

/// Frames and bytes that a rule has matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Packets; a superframe is one.
    pub frames: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// The counters of the rules `next`, which count on for those that were there. Mostly few have changed, in one place, and
/// only those between are looked for. `counted` has those of `before`.
pub(super) fn carried(before: &[u64], counted: &[RuleCounters], next: &[u64]) -> Vec<RuleCounters> {
    let same = |(a, b): &(&u64, &u64)| a == b;
    let first = before.iter().zip(next).take_while(same).count();
    let last = before[first..].iter().rev().zip(next[first..].iter().rev()).take_while(same).count();
    let (from, to) = (first..before.len() - last, first..next.len() - last);
    let known: HashMap<u64, RuleCounters> =
        before[from.clone()].iter().copied().zip(counted[from.clone()].iter().copied()).collect();
    let changed = next[to].iter().map(|rule| known.get(rule).copied().unwrap_or_default());
    counted[..first].iter().copied().chain(changed).chain(counted[from.end..].iter().copied()).collect()
}

/// Counts a packet that a rule has matched.
#[inline]
pub(in crate::switch) fn count(rules: &mut [RuleCounters], rule: u32, bytes: usize) {
    if let Some(counters) = rules.get_mut(rule as usize) {
        counters.frames += 1;
        counters.bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_on_wherever_they_move_to() {
        let counters = |rule: &u64| RuleCounters { frames: *rule, bytes: 10 * *rule };
        let before: Vec<u64> = (1..=8).collect();
        let counted: Vec<_> = before.iter().map(counters).collect();
        let cases: [&[u64]; 7] = [
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[1, 2, 3, 100, 4, 5, 6, 7, 8],
            &[1, 2, 5, 4, 3, 6, 7, 8],
            &[1, 2, 7, 8],
            &[8, 7, 6, 5, 4, 3, 2, 1],
            &[100, 101],
            &[],
        ];
        for next in cases {
            let expected: Vec<_> = next
                .iter()
                .map(|rule| if *rule < 100 { counters(rule) } else { RuleCounters::default() })
                .collect();
            assert_eq!(carried(&before, &counted, next), expected, "{next:?}");
        }
        assert_eq!(carried(&[], &[], &[1]), [RuleCounters::default()]);
    }
}
