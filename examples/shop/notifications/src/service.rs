//! How notifications are read.

use drystone::prelude::*;
use notifications_api::{ListNotificationsRequest, ListNotificationsResponse, Notification, Notifications};

pub(crate) struct NotificationsService {
    pub(crate) store: Store,
}

#[derive(Row)]
struct NotificationRow {
    /// The order or the item that it is about.
    subject: String,
    /// Its place among those of its subject.
    number: i64,
    kind: i32,
    user_id: String,
    order_id: String,
    sku: String,
    text: String,
    /// Microseconds since 1970.
    created: i64,
}

impl From<NotificationRow> for Notification {
    fn from(row: NotificationRow) -> Self {
        Self {
            id: format!("{}/{}", row.subject, row.number),
            kind: row.kind,
            user_id: row.user_id,
            order_id: row.order_id,
            sku: row.sku,
            text: row.text,
            create_time: Some(timestamp(row.created)),
        }
    }
}

impl Notifications for NotificationsService {
    async fn list_notifications(
        &self,
        cx: &mut Context,
        req: ListNotificationsRequest,
    ) -> Result<ListNotificationsResponse> {
        let page: Page<(i64, String, i64)> = Page::asked(req.page_size, &req.page_token)?;
        let (created, subject, number) = page.after().unwrap_or((i64::MAX, String::new(), 0));
        let mut read = self.store.read(cx).await?;
        let mut rows: Vec<NotificationRow> = read
            .query(
                "select * from notifications
                 where (created < $1 or (created = $1 and (subject < $2 or (subject = $2 and number < $3))))
                   and ($4 = '' or user_id = $4) and ($5 = '' or order_id = $5)
                 order by created desc, subject desc, number desc limit $6",
            )
            .bind((created, subject, number, &req.user_id, &req.order_id, page.fetch()))
            .all()
            .await?;
        let next_page_token = page.cut(&mut rows, |row| (row.created, row.subject.clone(), row.number));
        let notifications = rows.into_iter().map(Notification::from).collect();
        Ok(ListNotificationsResponse { notifications, next_page_token })
    }
}
