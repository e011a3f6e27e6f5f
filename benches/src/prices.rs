//! The module that the suites call.

use drystone::prelude::*;
use drystone::store::Migrations;
use drystone_call::IdempotencyKey;

use crate::api::{
    Money, OrderRequest, OrderResponse, Prices, PricesClient, PricesServer, QuoteRequest, QuoteResponse,
};
use crate::suites::Failure;

/// The name of the module.
pub(crate) const MODULE: &str = "prices";
/// What one unit of anything costs.
pub(crate) const UNIT: i64 = 495;
/// The statement that writes an order, in the same words for both sides.
pub(crate) const INSERT: &str =
    "insert into orders (id, user_id, sku, quantity, currency_code, total_minor, state, created)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";

/// The tables of the module.
pub(crate) const MIGRATIONS: Migrations = migrations!("migrations");

/// Serves the contract.
pub(crate) struct PricesService {
    store: Store,
}

impl PricesService {
    /// A service whose store stays shut, for callers that only quote.
    pub(crate) fn without_store() -> Self {
        Self { store: Store::unopened(MODULE) }
    }
}

impl Prices for PricesService {
    async fn quote(&self, _: &mut drystone::Context, req: QuoteRequest) -> Result<QuoteResponse> {
        Ok(quote(req))
    }

    async fn order(&self, cx: &mut drystone::Context, req: OrderRequest) -> Result<OrderResponse> {
        order(&self.store, cx, req).await
    }
}

/// The work of a quote, the same behind every server.
pub(crate) fn quote(req: QuoteRequest) -> QuoteResponse {
    let total = Money { currency_code: req.currency_code, minor_units: UNIT * i64::from(req.quantity) };
    QuoteResponse { sku: req.sku, quantity: req.quantity, total: Some(total), available: req.quantity < 1000 }
}

/// An order's transaction: one row, and under a key the record of the answer.
pub(crate) async fn order(store: &Store, cx: &mut Context, req: OrderRequest) -> Result<OrderResponse> {
    let total = UNIT * i64::from(req.quantity);
    let mut tx = store.begin(cx).await?;
    let created = micros(tx.caller().now());
    tx.query(INSERT)
        .bind((&req.id, &req.user_id, &req.sku, req.quantity, "EUR", total, 1, created))
        .execute()
        .await?;
    let total = Some(Money { currency_code: "EUR".to_owned(), minor_units: total });
    tx.commit_with(OrderResponse { id: req.id, total }).await
}

/// The application of one module, with its data below `data`.
pub(crate) fn app(data: &std::path::Path) -> App {
    let module = Module::new(MODULE).migrations(MIGRATIONS).wire(|w| {
        let service = PricesService { store: w.store() };
        w.serve(PricesServer::new(service));
    });
    App::new("bench").module(module).settings(&format!(
        "[app]\ndata = {:?}\n[tenants]\ncreate = [\"demo\"]\n",
        data.display().to_string()
    ))
}

/// The request that the suites quote for.
pub(crate) fn request() -> QuoteRequest {
    QuoteRequest { sku: "tea-assam".to_owned(), quantity: 3, currency_code: "EUR".to_owned() }
}

/// Quotes once and checks the answer.
pub(crate) async fn quoted(client: &PricesClient, cx: &Context) -> Result<(), Failure> {
    let answer = client.quote(cx, request()).await.map_err(said)?;
    right(&answer)
}

/// Checks an answer to [`request`].
pub(crate) fn right(answer: &QuoteResponse) -> Result<(), Failure> {
    match &answer.total {
        Some(total) if total.minor_units == 3 * UNIT => Ok(()),
        _ => Err(format!("a wrong answer: {answer:?}").into()),
    }
}

/// The platform's error as one that ends the run.
#[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
pub(crate) fn said(error: drystone::Error) -> Failure {
    format!("{error:?}").into()
}

/// An order's request.
pub(crate) fn order_request(id: String) -> OrderRequest {
    OrderRequest { id, user_id: "ada".to_owned(), sku: "tea-assam".to_owned(), quantity: 3 }
}

/// A key that no other order has.
pub(crate) fn key(id: &str) -> Result<IdempotencyKey, Failure> {
    IdempotencyKey::new(id).map_err(said)
}
