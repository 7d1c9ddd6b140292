//! What a gateway's codes mean for the subscription.

use crate::gateway::DeclineClass;

/// The codes of each class, separated by spaces. A code that is not listed has no class: an adapter calls it soft, since dunning tries
/// again within its limits and the next answer may be clearer.
pub(crate) struct CodeTable(pub(crate) &'static [(DeclineClass, &'static str)]);

impl CodeTable {
    /// The class of a code; `None` for one that is not listed.
    pub(crate) fn class_of(&self, code: &str) -> Option<DeclineClass> {
        self.0.iter().find(|(_, codes)| contains(codes, code)).map(|(class, _)| *class)
    }

    /// Every code.
    #[cfg(test)]
    pub(crate) fn codes(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(|(_, codes)| codes.split_ascii_whitespace()).collect()
    }
}

/// Whether a list of codes, separated by spaces, has this one.
pub(crate) fn contains(codes: &str, code: &str) -> bool {
    codes.split_ascii_whitespace().any(|known| known == code)
}
