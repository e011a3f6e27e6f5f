//! What the shop's payments promise to their callers: charge a card, read a charge, give the money back.
//!
//! Everything here is generated from `proto/shop/payments/v1/payments.proto`; its comments are the documentation.

drystone_call::include_contract!("shop.payments.v1");
