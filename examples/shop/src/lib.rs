//! The reference application: users, inventory, payments, orders and notifications.
//!
//! A library as well as a binary, so that tests start the very application that the binary runs.

pub mod rehearsal;

use drystone::App;

/// The shop with its modules and its built-in settings.
#[must_use]
pub fn app() -> App {
    App::new("shop")
        .settings(include_str!("../shop.toml"))
        .module(users::module())
        .module(inventory::module())
        .module(payments::module())
        .module(orders::module())
        .module(notifications::module())
        .rehearsal(rehearsal::rehearsal())
        .hint("\nTry it:\n")
        .hint("  # place an order, once however often it is sent")
        .hint(
            "  curl -s -X POST {gateway}/v1/orders -H 'content-type: application/json' -H 'idempotency-key: \"first\"' \\\n    \
             -d '{\"userId\":\"ada\",\"sku\":\"tea-assam\",\"quantity\":2,\"cardToken\":\"tok_visa\"}'\n",
        )
        .hint("  # read it back\n  curl -s '{gateway}/v1/orders?userId=ada'\n")
        .hint("  # what its buyer is told\n  curl -s '{gateway}/v1/notifications?userId=ada'\n")
        .hint("  # two units fewer are available\n  curl -s {gateway}/v1/stock/tea-assam\n")
        .hint("With \"cardToken\":\"tok_declined\" and another key the card is declined, and the stock is back.")
}
