//! What callers were told: the shop's books as its customers would keep them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use orders_api::{Order, PlaceOrderRequest};

/// What was wished for and what was answered, in the order in which it was.
#[derive(Debug, Default)]
pub struct Books {
    /// The units of each item that were acknowledged as added, by tenant and SKU.
    pub(super) added: RefCell<BTreeMap<(&'static str, &'static str), i64>>,
    /// The orders that were wished for.
    pub(super) wishes: RefCell<Vec<Wish>>,
    /// The ids of orders whose cancellation was acknowledged.
    pub(super) cancelled: RefCell<Vec<String>>,
    /// Answers that no caller should get.
    pub(super) wrong: RefCell<Vec<String>>,
}

/// An order that somebody wished for under a key.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) tenant: &'static str,
    pub(super) principal: String,
    pub(super) key: String,
    pub(super) request: PlaceOrderRequest,
    pub(super) outcome: Outcome,
}

/// What a caller knows of its order.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// This was answered.
    Placed(Order),
    /// Refused for this reason; the order with this id, if there is one, is declined.
    Refused(String, Option<String>),
    /// The caller went away before it was answered.
    Open,
}

impl Books {
    /// The wishes of one tenant.
    pub(super) fn wishes_of(&self, tenant: &str) -> Vec<Wish> {
        self.wishes.borrow().iter().filter(|wish| wish.tenant == tenant).cloned().collect()
    }

    pub(super) fn add(&self, tenant: &'static str, sku: &'static str, units: i32) {
        *self.added.borrow_mut().entry((tenant, sku)).or_default() += i64::from(units);
    }

    pub(super) fn is_cancelled(&self, order: &str) -> bool {
        self.cancelled.borrow().iter().any(|id| id == order)
    }

    pub(super) fn wrong(&self, what: String) {
        self.wrong.borrow_mut().push(what);
    }
}
