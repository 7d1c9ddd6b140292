//! Customers at their pages.

use std::sync::Arc;
use std::time::Duration;

use connector::front::Reply;

use super::agenda::Happening;
use super::cast::Standing;
use super::theatre::{Came, Errand, Theatre};
use crate::house::Entry;
use crate::stage::FRONT_TIME;

/// A page asks again after this long.
pub(super) const PAGE_WAITS: Duration = Duration::from_secs(15);

impl Theatre<'_> {
    /// A page makes its next call.
    pub(super) fn page(&mut self, who: usize) {
        let Some(visitor) = self.visitors.get_mut(who) else { return };
        let Some((path, headers, body)) = visitor.next_call(&self.stage) else { return };
        visitor.calls = visitor.calls.saturating_add(1);
        if visitor.calls > 40 {
            // Even the most patient customer goes.
            visitor.standing = Standing::Gone;
            return;
        }
        let stage = Arc::clone(&self.stage);
        self.sky.note(|| format!("w{} is called by visitor {who}: {path}", self.next_worker()));
        let come = async move { Came::Answered(who, stage.send(&path, headers, body).await) };
        self.hire(Errand::Page(who), FRONT_TIME, Box::pin(come));
    }

    /// A page has its answer.
    pub(super) fn answered(&mut self, who: usize, reply: &Reply) {
        let now = self.sky.now();
        let stage = Arc::clone(&self.stage);
        let Some(visitor) = self.visitors.get_mut(who) else { return };
        let (status, code) = (reply.status.as_u16(), reply.body.get("code").cloned().unwrap_or_default());
        self.sky.note(|| format!("visitor {who} is answered {status} {code}"));
        let action = reply.body.pointer("/responseData/action").filter(|action| action.is_object());
        let next = if let Some(action) = action {
            let house = &stage.guest(visitor.gateway).house;
            if visitor.comes_back {
                visitor.standing = Standing::HandsIn(house.agree(action));
                Some(self.dice.time(5, 900))
            } else {
                // He agrees and never comes back, or never agrees, or begins anew with something else.
                match self.dice.below(3) {
                    0 => {
                        house.agree(action);
                        visitor.standing = Standing::Gone;
                        let wait = self.dice.time(0, 3_600);
                        self.agenda.put(now.after(wait), Happening::Acts(visitor.gateway));
                        None
                    }
                    1 => {
                        visitor.standing = Standing::Gone;
                        None
                    }
                    _ => {
                        if self.dice.happens(500) {
                            house.agree(action);
                        }
                        visitor.entries = visitor.entries.saturating_add(1);
                        visitor.standing = Standing::Enters(Entry::Asked);
                        visitor.comes_back = self.dice.happens(500);
                        Some(self.dice.time(1, 600))
                    }
                }
            }
        } else if matches!(status, 202 | 429 | 500..) {
            Some(PAGE_WAITS)
        } else if status == 200 {
            visitor.standing = Standing::Gone;
            None
        } else {
            visitor.tries_again(&mut self.dice);
            Some(self.dice.time(5, 120))
        };
        self.audit.told_the_customer(reply, &self.sky);
        if let Some(wait) = next {
            self.agenda.put(now.after(wait), Happening::Page(who));
        }
    }
}
