//! What ExampleGateway's codes mean for the subscription. TODO: the pages of its documentation that list the codes; the classes are ours.
//! Must never read a text that is meant for people.

use crate::gateway::common::code_table::CodeTable;
use crate::gateway::{Decline, DeclineClass};

/// TODO: all documented codes, of each class that the gateway has.
const CODES: CodeTable = CodeTable(&[(DeclineClass::Soft, SOFT), (DeclineClass::Hard, HARD)]);

/// May succeed later.
const SOFT: &str = "insufficient_funds";
/// Never again with these details.
const HARD: &str = "lost_card stolen_card";

/// The decline of this code; one that is not listed is soft, since dunning tries again within its limits and the next answer may be clearer.
pub(super) fn from_code(code: &str) -> Decline {
    Decline::new(CODES.class_of(code).unwrap_or(DeclineClass::Soft), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_class_and_one_that_is_not_listed_is_soft() {
        for (code, class) in
            [("insufficient_funds", DeclineClass::Soft), ("stolen_card", DeclineClass::Hard), ("brand_new_code", DeclineClass::Soft)]
        {
            assert_eq!(from_code(code), Decline::new(class, code));
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes = CODES.codes();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
