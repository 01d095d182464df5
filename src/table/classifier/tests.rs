use proptest::collection;
use proptest::prelude::*;

use super::*;

type Rule<const F: usize> = [Vec<RangeInclusive<u128>>; F];

fn matches<const F: usize>(classifier: &Classifier<F>, values: [u128; F]) -> Vec<u32> {
    classifier.matches(&values).collect()
}

#[test]
fn no_rules_match_nothing() {
    let none = Classifier::<3>::new(&[]);
    assert!(none.is_empty());
    assert!(matches(&none, [0, 1, u128::MAX]).is_empty());
}

#[test]
fn rules_come_in_their_order_and_any_value_will_do_where_none_is_asked_for() {
    let rules: [Rule<2>; 5] = [
        [vec![10..=19], vec![80..=80, 443..=443]],
        [vec![], vec![0..=1023]],
        [vec![15..=u128::MAX], vec![]],
        [vec![], vec![]],
        [vec![0..=0], vec![]],
    ];
    let classifier = Classifier::new(&rules);
    assert_eq!(classifier.len(), 5);
    for (values, expected) in [
        ([10, 80], &[0, 1, 3][..]),
        ([19, 443], &[0, 1, 2, 3]),
        ([20, 443], &[1, 2, 3]),
        ([9, 1024], &[3]),
        ([0, 1023], &[1, 3, 4]),
        ([u128::MAX, u128::MAX], &[2, 3]),
    ] {
        assert_eq!(matches(&classifier, values), expected, "{values:?}");
    }
}

#[test]
fn rules_that_ask_for_nothing_always_match() {
    let all = Classifier::<2>::new(&vec![[vec![], vec![]]; 200]);
    assert_eq!(matches(&all, [7, u128::MAX]), (0..200).collect::<Vec<_>>());
}

#[test]
fn ranges_of_a_rule_may_touch_overlap_and_be_empty() {
    let rules: [Rule<1>; 3] = [
        [vec![30..=40, 10..=20, 15..=25, 26..=29, 12..=13]],
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is asked")]
        [vec![9..=8]],
        [vec![u128::MAX..=u128::MAX, 0..=u128::MAX]],
    ];
    let classifier = Classifier::new(&rules);
    for (value, expected) in [(9, &[2][..]), (10, &[0, 2]), (25, &[0, 2]), (40, &[0, 2]), (41, &[2])] {
        assert_eq!(matches(&classifier, [value]), expected, "{value}");
    }
    assert_eq!(matches(&classifier, [u128::MAX]), [2]);
}

/// A field in which all values are alike was taken for one that no rule asks for.
#[test]
fn a_rule_that_no_value_can_match_never_matches() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is asked")]
    let rules: [Rule<2>; 2] = [[vec![9..=8], vec![]], [vec![], vec![5..=5]]];
    let classifier = Classifier::new(&rules);
    assert!(matches(&classifier, [9, 4]).is_empty());
    assert_eq!(matches(&classifier, [9, 5]), [1]);
}

#[test]
fn ten_thousand_rules_that_nest_take_no_more_than_they_may() {
    // In each field in another order.
    let rules: Vec<Rule<6>> = (0..10_000)
        .map(|n| {
            [1, 3, 7, 9, 11, 13].map(|step| n * step % 10_000).map(|depth| vec![depth..=100_000 - depth])
        })
        .collect();
    let classifier = Classifier::new(&rules);
    assert!(classifier.bytes() < 6 * 10_000 * 400, "{}", classifier.bytes());
    assert_eq!(matches(&classifier, [50_000; 6]).len(), 10_000);
    assert_eq!(matches(&classifier, [50_000, 50_000, 2_999, 50_000, 50_000, 50_000]).len(), 3_000);
}

/// What the classifier must say: all rules are walked.
fn walk<const F: usize>(rules: &[Rule<F>], values: [u128; F]) -> Vec<u32> {
    let all = |rule: &Rule<F>| {
        rule.iter()
            .zip(values)
            .all(|(ranges, value)| ranges.is_empty() || ranges.iter().any(|r| r.contains(&value)))
    };
    (0..).zip(rules).filter(|(_, rule)| all(rule)).map(|(place, _)| place).collect()
}

/// Few values, so that they meet, near both ends of what there is.
fn any_value() -> impl Strategy<Value = u128> {
    prop_oneof![8 => 0..40u128, 1 => (0..3u128).prop_map(|n| u128::MAX - n), 1 => Just(1 << 64)]
}

fn any_rule() -> impl Strategy<Value = Rule<3>> {
    let range = (any_value(), any_value()).prop_map(|(a, b)| a..=b.max(a.saturating_sub(1)));
    let point = any_value().prop_map(|value| value..=value);
    let ranges = prop_oneof![
        2 => Just(vec![]),
        3 => collection::vec(range, 1..4),
        1 => collection::vec(point, 1..8),
    ];
    proptest::array::uniform3(ranges)
}

proptest! {
    #[test]
    fn it_finds_what_a_walk_of_all_rules_finds(
        rules in prop_oneof![collection::vec(any_rule(), 0..12), collection::vec(any_rule(), 60..200)],
        packets in collection::vec(proptest::array::uniform3(any_value()), 40),
    ) {
        let classifier = Classifier::new(&rules);
        for values in packets {
            prop_assert_eq!(matches(&classifier, values), walk(&rules, values));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// As many rules as take several pages, of which few match.
    #[test]
    fn it_finds_rules_far_apart(
        places in collection::btree_map(0..20_000usize, any_rule(), 1..40),
        packets in collection::vec(proptest::array::uniform3(any_value()), 10),
    ) {
        let never = core::array::from_fn(|_| vec![1_000..=1_000]);
        let mut rules = vec![never; 20_000];
        for (&place, rule) in &places {
            rules[place] = rule.clone();
        }
        let classifier = Classifier::new(&rules);
        for values in packets {
            prop_assert_eq!(matches(&classifier, values), walk(&rules, values));
        }
    }
}
