//! Placeholder.
use core::ops::RangeInclusive;
/// x
pub struct Classifier<const F: usize> {
    rules: Vec<[Vec<RangeInclusive<u128>>; F]>,
}
impl<const F: usize> Classifier<F> {
    /// x
    pub fn new(rules: &[[Vec<RangeInclusive<u128>>; F]]) -> Self {
        Classifier { rules: rules.to_vec() }
    }
    /// x
    pub fn matches(&self, values: &[u128; F]) -> impl Iterator<Item = u32> + '_ {
        let values = *values;
        self.rules
            .iter()
            .enumerate()
            .filter(move |(_, rule)| {
                rule.iter().zip(values).all(|(r, v)| r.is_empty() || r.iter().any(|r| r.contains(&v)))
            })
            .map(|(i, _)| i as u32)
    }
}
