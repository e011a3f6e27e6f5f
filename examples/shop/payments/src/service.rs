//! How charges are kept.

use drystone::prelude::*;
use payments_api::{
    Charge, ChargeRequest, ChargeState, GetChargeRequest, Money, Payments, PaymentsReason, RefundRequest,
};

use crate::provider::ProviderSettings;

pub(crate) struct PaymentsService {
    pub(crate) store: Store,
    pub(crate) provider: ProviderSettings,
}

#[derive(Row)]
struct ChargeRow {
    id: String,
    order_id: String,
    currency_code: String,
    amount_minor: i64,
    state: i32,
    /// Microseconds since 1970.
    created: i64,
}

impl From<ChargeRow> for Charge {
    fn from(row: ChargeRow) -> Self {
        Self {
            id: row.id,
            order_id: row.order_id,
            amount: Some(Money { currency_code: row.currency_code, minor_units: row.amount_minor }),
            state: row.state,
            create_time: Some(timestamp(row.created)),
        }
    }
}

impl Payments for PaymentsService {
    async fn charge(&self, cx: &mut Context, req: ChargeRequest) -> Result<Charge> {
        let amount = checked_amount(&req)?;
        let mut tx = self.store.begin(cx).await?;
        if !self.provider.takes(&amount.currency_code) {
            let text = format!("the provider does not take {}", amount.currency_code);
            return tx.refuse(PaymentsReason::CurrencyNotSupported.error(text)).await;
        }
        if self.provider.declines(&req.card_token, &amount) {
            return tx.refuse(PaymentsReason::CardDeclined.error("the card was declined")).await;
        }
        let created = micros(tx.caller().now());
        let row: ChargeRow = tx
            .query(
                "insert into charges (id, order_id, currency_code, amount_minor, state, created)
                 values ($1, $2, $3, $4, $5, $6) returning *",
            )
            .bind((
                &req.charge_id,
                &req.order_id,
                &amount.currency_code,
                amount.minor_units,
                ChargeState::Captured as i32,
                created,
            ))
            .one()
            .await?;
        tx.commit_with(row.into()).await
    }

    async fn get_charge(&self, cx: &mut Context, req: GetChargeRequest) -> Result<Charge> {
        let mut read = self.store.read(cx).await?;
        let row: Option<ChargeRow> =
            read.query("select * from charges where id = $1").bind((&req.charge_id,)).optional().await?;
        Ok(row.ok_or_else(|| unknown_charge(&req.charge_id))?.into())
    }

    async fn refund(&self, cx: &mut Context, req: RefundRequest) -> Result<Charge> {
        let mut tx = self.store.begin(cx).await?;
        let row: Option<ChargeRow> =
            tx.query("select * from charges where id = $1").bind((&req.charge_id,)).optional().await?;
        let Some(mut row) = row else { return tx.refuse(unknown_charge(&req.charge_id)).await };
        if row.state == ChargeState::Refunded as i32 {
            return tx.refuse(PaymentsReason::AlreadyRefunded.error("the money was given back before")).await;
        }
        row.state = ChargeState::Refunded as i32;
        tx.query("update charges set state = $2 where id = $1").bind((&row.id, row.state)).execute().await?;
        tx.commit_with(row.into()).await
    }
}

fn unknown_charge(id: &str) -> Error {
    PaymentsReason::ChargeNotFound.error(format!("there is no charge {id:?}"))
}

fn checked_amount(req: &ChargeRequest) -> Result<Money> {
    let amount = req.amount.clone().unwrap_or_default();
    let mut wrong = Error::invalid_argument("the charge is not complete");
    if req.charge_id.is_empty() {
        wrong = wrong.violation("charge_id", "is empty");
    }
    if amount.minor_units <= 0 {
        wrong = wrong.violation("amount.minor_units", "must be more than zero");
    }
    if req.card_token.is_empty() {
        wrong = wrong.violation("card_token", "is empty");
    }
    if wrong.violations().is_empty() { Ok(amount) } else { Err(wrong) }
}
