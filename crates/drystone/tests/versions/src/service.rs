//! What each release does with an entry.

use drystone::prelude::*;
use ledger_api::{after, before};

/// Release 1.
pub(crate) struct First(pub(crate) Store);
/// Release 2.
pub(crate) struct Second(pub(crate) Store);
/// Release 3.
pub(crate) struct Third(pub(crate) Store);

/// A release of the service: its contract, how it writes an entry, and how it reads the purpose of the entries.
macro_rules! release {
    ($service:ident, $version:ident, $insert:literal $(, $purpose:ident)?) => {
        impl $service {
            async fn add(&self, cx: &mut Context, entry: $version::Entry) -> Result<$version::Entry> {
                let mut tx = self.0.begin(cx).await?;
                let id = tx.new_id().to_string();
                tx.query($insert)
                    .bind((&id, &entry.account, entry.amount $(, &entry.$purpose)?))
                    .execute()
                    .await?;
                tx.commit_with($version::Entry { id, ..entry }).await
            }
        }

        impl $version::Ledger for $service {
            async fn book(&self, cx: &mut Context, req: $version::BookRequest) -> Result<$version::Entry> {
                let (id, account) = (String::new(), req.account);
                self.add(cx, $version::Entry { id, account, amount: req.amount $(, $purpose: req.$purpose)? }).await
            }

            async fn book_carefully(
                &self,
                cx: &mut Context,
                req: $version::BookCarefullyRequest,
            ) -> Result<$version::Entry> {
                let (id, account) = (String::new(), req.account);
                self.add(cx, $version::Entry { id, account, amount: req.amount $(, $purpose: String::new())? }).await
            }

            async fn get_balance(
                &self,
                cx: &mut Context,
                req: $version::GetBalanceRequest,
            ) -> Result<$version::Balance> {
                let mut read = self.0.read(cx).await?;
                let (entries, total) = read
                    .query("select count(*), cast(coalesce(sum(amount), 0) as bigint) from entries where account = $1")
                    .bind((req.account,))
                    .one()
                    .await?;
                Ok($version::Balance { entries, total })
            }
        }
    };
}

release!(First, before, "insert into entries (id, account, amount, memo) values ($1, $2, $3, 'first')");
release!(
    Second,
    after,
    "insert into entries (id, account, amount, purpose, memo) values ($1, $2, $3, $4, $4)",
    purpose
);
release!(Third, after, "insert into entries (id, account, amount, purpose) values ($1, $2, $3, $4)", purpose);
