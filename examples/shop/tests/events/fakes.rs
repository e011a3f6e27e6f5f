//! The modules that orders call, as they are when all goes well.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drystone::{Context, Error, Result};
use inventory_api::{
    AddStockRequest, ConfirmRequest, GetStockRequest, Inventory, ListItemsRequest, ListItemsResponse, Money,
    ReleaseRequest, Reservation, ReserveRequest, Stock, TakeBackRequest,
};
use payments_api::{Charge, ChargeRequest, GetChargeRequest, Payments, PaymentsReason, RefundRequest};
use tokio::sync::Barrier;
use users_api::{
    CreateUserRequest, GetUserRequest, ListUsersRequest, ListUsersResponse, User, Users, UsersReason,
};

fn not_here<T>() -> Result<T> {
    Err(Error::failed_precondition("the fake does not do that"))
}

/// An inventory that has all of everything, at 8.90 each.
pub(crate) struct FullShelves;

impl Inventory for FullShelves {
    async fn list_items(&self, _: &mut Context, _: ListItemsRequest) -> Result<ListItemsResponse> {
        not_here()
    }
    async fn get_stock(&self, _: &mut Context, req: GetStockRequest) -> Result<Stock> {
        let price = Some(Money { currency_code: "EUR".to_owned(), minor_units: 890 });
        Ok(Stock { sku: req.sku, price, ..Stock::default() })
    }
    async fn add_stock(&self, _: &mut Context, _: AddStockRequest) -> Result<Stock> {
        not_here()
    }
    async fn reserve(&self, _: &mut Context, _: ReserveRequest) -> Result<Reservation> {
        Ok(Reservation::default())
    }
    async fn release(&self, _: &mut Context, _: ReleaseRequest) -> Result<Reservation> {
        Ok(Reservation::default())
    }
    async fn confirm(&self, _: &mut Context, _: ConfirmRequest) -> Result<Reservation> {
        Ok(Reservation::default())
    }
    async fn take_back(&self, _: &mut Context, _: TakeBackRequest) -> Result<Reservation> {
        Ok(Reservation::default())
    }
}

/// Users of whom all exist but `nobody`.
pub(crate) struct NearlyEveryone;

impl Users for NearlyEveryone {
    async fn create_user(&self, _: &mut Context, _: CreateUserRequest) -> Result<User> {
        not_here()
    }
    async fn get_user(&self, _: &mut Context, req: GetUserRequest) -> Result<User> {
        match &*req.user_id {
            "nobody" => Err(UsersReason::UserNotFound.error("there is no such user")),
            _ => Ok(User { id: req.user_id, ..User::default() }),
        }
    }
    async fn list_users(&self, _: &mut Context, _: ListUsersRequest) -> Result<ListUsersResponse> {
        not_here()
    }
}

/// A provider that takes every card but `tok_declined`, and gives money back when so many ask for it at once. It has no store that would record
/// keys, so it knows them by itself: who asks again is not one more.
pub(crate) struct PatientBank {
    at_once: Barrier,
    given: Mutex<HashSet<String>>,
}

impl PatientBank {
    pub(crate) fn refunding(at_once: usize) -> Self {
        Self { at_once: Barrier::new(at_once), given: Mutex::default() }
    }

    fn given(&self) -> MutexGuard<'_, HashSet<String>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payments for PatientBank {
    async fn charge(&self, _: &mut Context, req: ChargeRequest) -> Result<Charge> {
        match &*req.card_token {
            "tok_declined" => Err(PaymentsReason::CardDeclined.error("the card was declined")),
            _ => Ok(Charge::default()),
        }
    }
    async fn get_charge(&self, _: &mut Context, _: GetChargeRequest) -> Result<Charge> {
        not_here()
    }
    async fn refund(&self, cx: &mut Context, _: RefundRequest) -> Result<Charge> {
        let key = cx.key().map(|key| key.as_str().to_owned()).unwrap_or_default();
        if !self.given().contains(&key) {
            self.at_once.wait().await;
            self.given().insert(key);
        }
        Ok(Charge::default())
    }
}
