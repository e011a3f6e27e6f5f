//! The context of a transaction: a caller's, or an engine's own.

use std::ops::{Deref, DerefMut};

use drystone_call::Context;

/// A context, borrowed from a call until the transaction ends, or given to the transaction.
pub(crate) enum Lent<'a> {
    Borrowed(&'a mut Context),
    Owned(Box<Context>),
}

impl Deref for Lent<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        match self {
            Self::Borrowed(cx) => cx,
            Self::Owned(cx) => cx,
        }
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Context {
        match self {
            Self::Borrowed(cx) => cx,
            Self::Owned(cx) => cx,
        }
    }
}
