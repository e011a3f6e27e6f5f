//! A busy day: several customers of two tenants at once, little stock, cards that decline, people who change their minds or go away, and an operator who
//! starts the shop anew in the middle.

use std::time::Duration;

use drystone::{Error, NotSo, Rehearser, Result};
use inventory_api::{AddStockRequest, InventoryClient, Money};
use orders_api::{
    CancelOrderRequest, GetOrderRequest, Order, OrderState, OrdersClient, OrdersReason, PlaceOrderRequest,
};
use users_api::{CreateUserRequest, ListUsersRequest, UsersClient};

use super::books::{Books, Outcome, Wish};

/// The tenants of the shop that is rehearsed.
pub(super) const TENANTS: [&str; 2] = ["demo", "acme"];
/// The items: SKU, price in cents, units in the morning. The card is declined for one unit of the last, whatever card it is.
pub(super) const ITEMS: [(&str, i64, i32); 3] = [("brick", 250, 9), ("slate", 499, 3), ("marble", 1013, 4)];
/// Customers at the same time, and how often each comes by.
const CUSTOMERS: usize = 6;
const VISITS: u32 = 4;

/// One who buys.
struct Customer<'a> {
    callers: &'a Rehearser,
    books: &'a Books,
    tenant: &'static str,
    user: String,
    /// The beginning of every key.
    name: String,
}

pub(super) async fn a_busy_day(callers: &Rehearser) -> Result<Books, NotSo> {
    let books = Books::default();
    let users = callers.at_once(TENANTS.len(), async |at| open(callers, &books, TENANTS[at]).await).await;
    let customers = callers.at_once(CUSTOMERS, async |at| {
        let tenant = at % TENANTS.len();
        let user = users[tenant][at / TENANTS.len() % users[tenant].len()].clone();
        Customer { callers, books: &books, tenant: TENANTS[tenant], user, name: format!("customer-{at}") }
            .shops()
            .await;
    });
    let (_, restarted) = drystone::join!(customers, start_anew(callers));
    restarted.map_err(|error| NotSo(format!("the shop does not start again: {error}")))?;
    Ok(books)
}

/// The morning of one tenant: its users, and its stock. Gives the users' ids.
async fn open(callers: &Rehearser, books: &Books, tenant: &'static str) -> Vec<String> {
    let mut users = Vec::new();
    for name in ["Bea", "Cleo"] {
        let request =
            CreateUserRequest { email: format!("{name}@example.com"), display_name: name.to_owned() };
        let made = callers
            .settled(tenant, "user:clerk", &format!("user-{name}"), async |cx| {
                callers.client::<UsersClient>()?.create_user(cx, request.clone()).await
            })
            .await;
        match made {
            Ok(user) => users.push(user.id),
            Err(error) => books.wrong(format!("{name} of {tenant} is not made: {error}")),
        }
    }
    for (sku, price, units) in ITEMS {
        let price = Money { currency_code: "EUR".to_owned(), minor_units: price };
        let request = AddStockRequest {
            sku: sku.to_owned(),
            quantity: units,
            title: sku.to_owned(),
            price: Some(price),
        };
        stock_up(callers, books, tenant, sku, request, &format!("morning-{sku}")).await;
    }
    if users.is_empty() { ids_of_users(callers, tenant).await } else { users }
}

async fn ids_of_users(callers: &Rehearser, tenant: &str) -> Vec<String> {
    let all = callers
        .settled(tenant, "user:clerk", "users", async |cx| {
            callers.client::<UsersClient>()?.list_users(cx, ListUsersRequest::default()).await
        })
        .await;
    let mut ids: Vec<String> = all.unwrap_or_default().users.into_iter().map(|user| user.id).collect();
    ids.push("nobody".to_owned());
    ids
}

/// Adds units and, once that is acknowledged, writes them into the books.
async fn stock_up(
    callers: &Rehearser,
    books: &Books,
    tenant: &'static str,
    sku: &'static str,
    request: AddStockRequest,
    key: &str,
) {
    let added = callers
        .settled(tenant, "user:clerk", key, async |cx| {
            callers.client::<InventoryClient>()?.add_stock(cx, request.clone()).await
        })
        .await;
    match added {
        Ok(_) => books.add(tenant, sku, request.quantity),
        Err(error) => {
            books.wrong(format!("{} units of {sku} for {tenant} are not added: {error}", request.quantity))
        }
    }
}

/// The operator: on every other day, the shop is stopped and started in the middle.
async fn start_anew(callers: &Rehearser) -> Result<(), drystone::StartError> {
    if !callers.chance(50) {
        return Ok(());
    }
    callers.pause(2500).await;
    callers.restart().await
}

impl Customer<'_> {
    async fn shops(&self) {
        let mut bought: Vec<Order> = Vec::new();
        for visit in 0..VISITS {
            self.callers.pause(700).await;
            let key = format!("{}-{visit}", self.name);
            match self.callers.below(100) {
                0..50 => bought.extend(self.orders(&key).await),
                50..62 => bought.extend(self.orders_twice_at_once(&key).await),
                62..77 => bought.extend(self.goes_away_and_comes_back(&key).await),
                77..85 => self.goes_away(&key).await,
                85..95 => match bought.pop() {
                    Some(order) => self.cancels(&order, &key).await,
                    None => bought.extend(self.orders(&key).await),
                },
                _ => self.supplies(&key).await,
            }
        }
        for order in &bought {
            self.looks_at(order).await;
        }
    }

    /// What the customer wishes for this time.
    fn wish(&self) -> PlaceOrderRequest {
        let (sku, _, _) = *self.callers.pick(&ITEMS);
        let quantity = 1 + i32::try_from(self.callers.below(3)).unwrap_or_default();
        let card = if self.callers.chance(20) { "tok_declined" } else { "tok_visa" };
        PlaceOrderRequest {
            user_id: self.user.clone(),
            sku: sku.to_owned(),
            quantity,
            card_token: card.to_owned(),
        }
    }

    async fn place(&self, key: &str, request: &PlaceOrderRequest) -> Result<Order> {
        let principal = self.principal();
        self.callers
            .settled(self.tenant, &principal, key, async |cx| {
                self.callers.client::<OrdersClient>()?.place_order(cx, request.clone()).await
            })
            .await
    }

    fn principal(&self) -> String {
        format!("user:{}", self.name)
    }

    async fn orders(&self, key: &str) -> Option<Order> {
        let request = self.wish();
        let answer = self.place(key, &request).await;
        self.write(key, request, Some(answer))
    }

    async fn orders_twice_at_once(&self, key: &str) -> Option<Order> {
        let request = self.wish();
        let mut answers = self.callers.at_once(2, async |_| self.place(key, &request).await).await;
        let (first, second) = (answers.pop()?, answers.pop()?);
        if told(&first) != told(&second) {
            self.books.wrong(format!(
                "two callers with key {key} were told {} and {}",
                told(&first),
                told(&second)
            ));
        }
        self.write(key, request, Some(first))
    }

    async fn goes_away_and_comes_back(&self, key: &str) -> Option<Order> {
        let request = self.wish();
        let after = Duration::from_millis(self.callers.below(120));
        if self.callers.gives_up(after, self.place(key, &request)).await.is_none() {
            self.callers.pause(300).await;
        }
        let answer = self.place(key, &request).await;
        self.write(key, request, Some(answer))
    }

    async fn goes_away(&self, key: &str) {
        let request = self.wish();
        let after = Duration::from_millis(self.callers.below(120));
        let answer = self.callers.gives_up(after, self.place(key, &request)).await;
        self.write(key, request, answer);
    }

    /// Writes down what was answered; gives the order, if it was placed.
    fn write(&self, key: &str, request: PlaceOrderRequest, answer: Option<Result<Order>>) -> Option<Order> {
        let outcome = match answer {
            Some(Ok(order)) => Outcome::Placed(order),
            Some(Err(error)) => self.refused(key, &error),
            None => Outcome::Open,
        };
        let placed = if let Outcome::Placed(order) = &outcome { Some(order.clone()) } else { None };
        let (tenant, principal) = (self.tenant, self.principal());
        self.books.wishes.borrow_mut().push(Wish {
            tenant,
            principal,
            key: key.to_owned(),
            request,
            outcome,
        });
        placed
    }

    fn refused(&self, key: &str, error: &Error) -> Outcome {
        let may_be = [OrdersReason::OutOfStock, OrdersReason::CardDeclined];
        if !may_be.into_iter().any(|reason| error.is(reason)) {
            self.books.wrong(format!("the order {key} is refused: {error}"));
            return Outcome::Open;
        }
        let name = error.reason_info().map(|info| info.name().to_owned()).unwrap_or_default();
        Outcome::Refused(name, error.metadata().get("order_id").cloned())
    }

    /// Cancels an order, in two windows at once now and then.
    async fn cancels(&self, order: &Order, key: &str) {
        let (windows, principal) = (1 + usize::from(self.callers.chance(40)), self.principal());
        let answers = self
            .callers
            .at_once(windows, async |window| {
                self.callers
                    .settled(self.tenant, &principal, &format!("{key}-cancel-{window}"), async |cx| {
                        let request = CancelOrderRequest { order_id: order.id.clone() };
                        self.callers.client::<OrdersClient>()?.cancel_order(cx, request).await
                    })
                    .await
            })
            .await;
        if answers.iter().any(Result::is_ok) {
            self.books.cancelled.borrow_mut().push(order.id.clone());
        }
        for answer in &answers {
            match answer {
                Ok(cancelled) if cancelled.state == OrderState::Cancelled as i32 => {}
                // The other window was first.
                Err(error) if windows > 1 && error.is(OrdersReason::NotCancellable) => {}
                other => self.books.wrong(format!("cancelling {} gave {}", order.id, told(other))),
            }
        }
    }

    /// More units arrive.
    async fn supplies(&self, key: &str) {
        let (sku, _, _) = *self.callers.pick(&ITEMS);
        let quantity = 1 + i32::try_from(self.callers.below(4)).unwrap_or_default();
        let request = AddStockRequest { sku: sku.to_owned(), quantity, title: String::new(), price: None };
        stock_up(self.callers, self.books, self.tenant, sku, request, key).await;
    }

    /// Reads what was acknowledged to be there.
    async fn looks_at(&self, order: &Order) {
        let read = self
            .callers
            .settled(self.tenant, &self.principal(), "look", async |cx| {
                let request = GetOrderRequest { order_id: order.id.clone() };
                self.callers.client::<OrdersClient>()?.get_order(cx, request).await
            })
            .await;
        if !read.as_ref().is_ok_and(|read| read == order) {
            self.books.wrong(format!(
                "{} was acknowledged as {order:?} and read as {}",
                order.id,
                told(&read)
            ));
        }
    }
}

/// What a caller was told, as it compares.
fn told(answer: &Result<Order>) -> String {
    match answer {
        Ok(order) => format!("{order:?}"),
        Err(error) => format!("{:?} {error}", error.code()),
    }
}
