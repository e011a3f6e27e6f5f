//! How users are kept.

use drystone::prelude::*;
use users_api::{
    CreateUserRequest, GetUserRequest, ListUsersRequest, ListUsersResponse, User, Users, UsersReason,
};

pub(crate) struct UsersService {
    pub(crate) store: Store,
}

#[derive(Row)]
struct UserRow {
    id: String,
    email: String,
    display_name: String,
    /// Microseconds since 1970.
    created: i64,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            display_name: row.display_name,
            create_time: Some(timestamp(row.created)),
        }
    }
}

impl Users for UsersService {
    async fn create_user(&self, cx: &mut Context, req: CreateUserRequest) -> Result<User> {
        let email = req.email.trim();
        let mut wrong = Error::invalid_argument("the user is not complete");
        if !email.contains('@') || email.len() > 254 {
            wrong = wrong.violation("email", "is not an e-mail address");
        }
        if req.display_name.trim().is_empty() {
            wrong = wrong.violation("display_name", "is empty");
        }
        if !wrong.violations().is_empty() {
            return Err(wrong);
        }
        let id = cx.stable_id("user").to_string();
        let mut tx = self.store.begin(cx).await?;
        let created = micros(tx.caller().now());
        let made: Option<UserRow> = tx
            .query(
                "insert into users (id, email, display_name, created) values ($1, $2, $3, $4)
                 on conflict do nothing returning *",
            )
            .bind((&id, email, req.display_name.trim(), created))
            .optional()
            .await?;
        match made {
            Some(row) => tx.commit_with(row.into()).await,
            None => tx.refuse(UsersReason::EmailTaken.error("another user has this e-mail address")).await,
        }
    }

    async fn get_user(&self, cx: &mut Context, req: GetUserRequest) -> Result<User> {
        let mut read = self.store.read(cx).await?;
        let row: Option<UserRow> =
            read.query("select * from users where id = $1").bind((&req.user_id,)).optional().await?;
        let unknown = || UsersReason::UserNotFound.error(format!("there is no user {:?}", req.user_id));
        Ok(row.ok_or_else(unknown)?.into())
    }

    async fn list_users(&self, cx: &mut Context, req: ListUsersRequest) -> Result<ListUsersResponse> {
        let page: Page<(i64, String)> = Page::asked(req.page_size, &req.page_token)?;
        let (created, id) = page.after().unwrap_or((i64::MIN, String::new()));
        let mut read = self.store.read(cx).await?;
        let mut rows: Vec<UserRow> = read
            .query(
                "select * from users where created > $1 or (created = $1 and id > $2)
                 order by created, id limit $3",
            )
            .bind((created, id, page.fetch()))
            .all()
            .await?;
        let next_page_token = page.cut(&mut rows, |row| (row.created, row.id.clone()));
        Ok(ListUsersResponse { users: rows.into_iter().map(User::from).collect(), next_page_token })
    }
}

/// Makes the first user, once.
pub(crate) async fn seed(store: &Store, cx: &mut Context) -> Result<()> {
    let mut tx = store.begin(cx).await?;
    let created = micros(tx.caller().now());
    tx.query(
        "insert into users (id, email, display_name, created) values ('ada', 'ada@example.com', 'Ada', $1)
         on conflict do nothing",
    )
    .bind((created,))
    .execute()
    .await?;
    tx.commit().await
}
