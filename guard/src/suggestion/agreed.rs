//! One part of a target that a text may name in several places.

/// Nothing yet, one value, or a contradiction that nothing later can mend.
#[derive(Debug)]
pub(super) enum Agreed<T> {
    Nothing,
    One(T),
    Contradiction,
}

impl<T: PartialEq> Agreed<T> {
    /// Takes note of one more place; `None` is a value that cannot be read.
    pub(super) fn see(&mut self, value: Option<T>) {
        let before = std::mem::replace(self, Self::Contradiction);
        *self = match (before, value) {
            (Self::Nothing, Some(value)) => Self::One(value),
            (Self::One(before), Some(value)) if before == value => Self::One(value),
            _ => Self::Contradiction,
        };
    }

    pub(super) fn is_contradiction(&self) -> bool {
        matches!(self, Self::Contradiction)
    }

    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::One(value) => Some(value),
            Self::Nothing | Self::Contradiction => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Agreed;

    #[test]
    fn a_contradiction_stays_one() {
        let seen = |values: &[Option<u8>]| {
            let mut agreed = Agreed::Nothing;
            values.iter().for_each(|value| agreed.see(*value));
            agreed.value()
        };
        assert_eq!(seen(&[]), None);
        assert_eq!(seen(&[Some(1), Some(1)]), Some(1));
        assert_eq!(seen(&[Some(1), Some(2), Some(1)]), None);
        assert_eq!(seen(&[None, Some(1)]), None);
    }
}
