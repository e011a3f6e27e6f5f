//! The built-in payment provider: takes no real money, and can be told to say no.

use payments_api::Money;
use serde::Deserialize;

/// `[modules.payments]`: what the provider declines.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProviderSettings {
    /// The card token that is always declined.
    declined_token: String,
    /// Amounts whose last two digits are these are declined.
    declined_minor_ending: i64,
    /// The currencies that are taken.
    currencies: Vec<String>,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            declined_token: "tok_declined".to_owned(),
            declined_minor_ending: 13,
            currencies: ["EUR", "USD", "GBP"].map(str::to_owned).into(),
        }
    }
}

impl ProviderSettings {
    /// Whether the provider takes this currency.
    pub(crate) fn takes(&self, currency_code: &str) -> bool {
        self.currencies.iter().any(|known| known == currency_code)
    }

    /// Whether the provider says no.
    pub(crate) fn declines(&self, card_token: &str, amount: &Money) -> bool {
        card_token == self.declined_token || amount.minor_units % 100 == self.declined_minor_ending
    }
}
