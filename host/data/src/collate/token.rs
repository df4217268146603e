//! A token and what its piece says of it, in four bytes.

/// Flags beside a token's id, in the bits that no vocabulary reaches.
const LEARNT: u32 = 1 << 31;
const SPECIAL: u32 = 1 << 30;
pub(super) const ID: u32 = SPECIAL - 1;

/// A token with what its piece says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(u32);

impl Token {
    pub(super) fn new(id: u32, learnt: bool, special: bool) -> Self {
        Self(id | if learnt { LEARNT } else { 0 } | if special { SPECIAL } else { 0 })
    }

    /// Its number in the vocabulary.
    pub fn id(self) -> u32 {
        self.0 & ID
    }

    /// Whether it counts in the loss and is scored.
    pub fn is_learnt(self) -> bool {
        self.0 & LEARNT != 0
    }

    /// Whether the recipe put it there as a special token (it is not from a column).
    pub fn is_special(self) -> bool {
        self.0 & SPECIAL != 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let learnt = if self.is_learnt() { "+" } else { "" };
        let special = if self.is_special() { "*" } else { "" };
        write!(f, "{}{learnt}{special}", self.id())
    }
}
