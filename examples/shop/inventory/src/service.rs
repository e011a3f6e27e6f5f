//! How the catalogue and the stock are kept.

use drystone::prelude::*;
use inventory_api::{
    AddStockRequest, ConfirmRequest, GetStockRequest, Inventory, InventoryReason, ListItemsRequest,
    ListItemsResponse, Money, ReleaseRequest, Reservation, ReserveRequest, Stock, TakeBackRequest,
};

use crate::low_stock::{self, Threshold};
use crate::reservations;

/// The catalogue that a new shop begins with: SKU, title, price in euro cents, units.
const CATALOGUE: [(&str, &str, i64, i32); 4] = [
    ("tea-assam", "Assam tea, 250 g", 890, 100),
    ("tea-sencha", "Sencha tea, 100 g", 1250, 40),
    ("pot-clay", "Clay teapot, 0.8 l", 4900, 12),
    ("cup-stone", "Stoneware cup", 1450, 3),
];

pub(crate) struct InventoryService {
    pub(crate) store: Store,
    pub(crate) threshold: Threshold,
}

#[derive(Row)]
pub(crate) struct StockRow {
    sku: String,
    title: String,
    pub(crate) currency_code: String,
    pub(crate) price_minor: i64,
    available: i32,
    reserved: i32,
}

impl From<StockRow> for Stock {
    fn from(row: StockRow) -> Self {
        Self {
            sku: row.sku,
            title: row.title,
            price: Some(Money { currency_code: row.currency_code, minor_units: row.price_minor }),
            available: row.available,
            reserved: row.reserved,
        }
    }
}

impl Inventory for InventoryService {
    async fn list_items(&self, cx: &mut Context, req: ListItemsRequest) -> Result<ListItemsResponse> {
        let page: Page<String> = Page::asked(req.page_size, &req.page_token)?;
        let mut read = self.store.read(cx).await?;
        let mut rows: Vec<StockRow> = read
            .query("select * from stock where sku > $1 order by sku limit $2")
            .bind((page.after().unwrap_or_default(), page.fetch()))
            .all()
            .await?;
        let next_page_token = page.cut(&mut rows, |row| row.sku.clone());
        Ok(ListItemsResponse { items: rows.into_iter().map(Stock::from).collect(), next_page_token })
    }

    async fn get_stock(&self, cx: &mut Context, req: GetStockRequest) -> Result<Stock> {
        let mut read = self.store.read(cx).await?;
        let row: Option<StockRow> =
            read.query("select * from stock where sku = $1").bind((&req.sku,)).optional().await?;
        Ok(row.ok_or_else(|| unknown_sku(&req.sku))?.into())
    }

    async fn add_stock(&self, cx: &mut Context, req: AddStockRequest) -> Result<Stock> {
        positive("quantity", req.quantity)?;
        let mut tx = self.store.begin(cx).await?;
        let grown: Option<StockRow> = tx
            .query("update stock set available = available + $2 where sku = $1 returning *")
            .bind((&req.sku, req.quantity))
            .optional()
            .await?;
        if let Some(row) = grown {
            low_stock::added(self.threshold, &mut tx, &row.sku, row.available).await?;
            return tx.commit_with(row.into()).await;
        }
        let Some(price) = req.price.filter(|_| !req.title.is_empty()) else {
            return tx.refuse(unknown_sku(&req.sku)).await;
        };
        check_new_item(&req.sku, &price)?;
        let row: StockRow = tx
            .query(
                "insert into stock (sku, title, currency_code, price_minor, available)
                 values ($1, $2, $3, $4, $5) returning *",
            )
            .bind((&req.sku, &req.title, &price.currency_code, price.minor_units, req.quantity))
            .one()
            .await?;
        tx.commit_with(row.into()).await
    }

    async fn reserve(&self, cx: &mut Context, req: ReserveRequest) -> Result<Reservation> {
        reservations::reserve(&self.store, cx, req).await
    }

    async fn release(&self, cx: &mut Context, req: ReleaseRequest) -> Result<Reservation> {
        reservations::release(&self.store, cx, &req.reservation_id).await
    }

    async fn confirm(&self, cx: &mut Context, req: ConfirmRequest) -> Result<Reservation> {
        reservations::confirm(&self.store, cx, &req.reservation_id).await
    }

    async fn take_back(&self, cx: &mut Context, req: TakeBackRequest) -> Result<Reservation> {
        reservations::take_back(&self.store, cx, &req.reservation_id).await
    }
}

pub(crate) fn unknown_sku(sku: &str) -> Error {
    InventoryReason::UnknownSku.error(format!("the catalogue has no item {sku:?}"))
}

pub(crate) fn positive(field: &str, quantity: i32) -> Result<()> {
    if (1..=1_000_000).contains(&quantity) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{field} is {quantity}")).violation(field, "must be 1 to 1000000"))
}

fn check_new_item(sku: &str, price: &Money) -> Result<()> {
    let mut wrong = Error::invalid_argument("the new item is not complete");
    if sku.is_empty() || sku.len() > 64 {
        wrong = wrong.violation("sku", "must have 1 to 64 characters");
    }
    if price.minor_units < 0 {
        wrong = wrong.violation("price.minor_units", "must not be negative");
    }
    if price.currency_code.len() != 3 || !price.currency_code.bytes().all(|b| b.is_ascii_uppercase()) {
        wrong = wrong.violation("price.currency_code", "must be an ISO 4217 code such as EUR");
    }
    if wrong.violations().is_empty() { Ok(()) } else { Err(wrong) }
}

/// Makes the catalogue of a new shop, once.
pub(crate) async fn seed(store: &Store, cx: &mut Context) -> Result<()> {
    let mut tx = store.begin(cx).await?;
    let (items,): (i64,) = tx.query("select count(*) from stock").one().await?;
    if items > 0 {
        return tx.commit().await;
    }
    for (sku, title, price, available) in CATALOGUE {
        tx.query(
            "insert into stock (sku, title, currency_code, price_minor, available)
             values ($1, $2, 'EUR', $3, $4)",
        )
        .bind((sku, title, price, available))
        .execute()
        .await?;
    }
    tx.commit().await
}
