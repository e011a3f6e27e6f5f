//! Pages of a list, as AIP-158 asks: a size, an opaque token, and no page that is skipped or shown twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use drystone_call::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most rows on a page.
const LARGEST: i32 = 100;
/// Rows on a page when the caller does not say.
const USUAL: i32 = 50;

/// A page that a caller asked for; `K` is the position of a row in the list's order.
///
/// Fetch [`Page::fetch`] rows after [`Page::after`], then [`Page::cut`].
/// Source: <https://google.aip.dev/158>.
#[derive(Debug)]
pub struct Page<K> {
    size: i32,
    after: Option<K>,
}

impl<K: Serialize + DeserializeOwned + Clone> Page<K> {
    /// The page of a request's `page_size` (0 is 50, more than 100 is 100) and `page_token` (empty is the first page).
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a negative size or a token that no page gave.
    pub fn asked(size: i32, token: &str) -> Result<Self> {
        if size < 0 {
            return Err(Error::invalid_argument("the page size is negative")
                .violation("page_size", "must be 0 to 100"));
        }
        let size = if size == 0 { USUAL } else { size.min(LARGEST) };
        let after = if token.is_empty() { None } else { Some(position(token)?) };
        Ok(Self { size, after })
    }

    /// The position after which the page begins; `None` on the first page.
    #[must_use]
    pub fn after(&self) -> Option<K> {
        self.after.clone()
    }

    /// How many rows to fetch: one more than the page shows, to know whether there is another.
    #[must_use]
    pub fn fetch(&self) -> i64 {
        i64::from(self.size) + 1
    }

    /// Cuts the rows to the page and gives the token of the next one, empty on the last.
    #[must_use]
    pub fn cut<R>(&self, rows: &mut Vec<R>, position_of: impl FnOnce(&R) -> K) -> String {
        let size = usize::try_from(self.size).unwrap_or_default();
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        let json = rows.last().and_then(|row| serde_json::to_vec(&position_of(row)).ok());
        json.map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
    }
}

fn position<K: DeserializeOwned>(token: &str) -> Result<K> {
    let json = URL_SAFE_NO_PAD.decode(token).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
        Error::invalid_argument("the page token is not one that a page gave")
            .violation("page_token", "repeat the next_page_token of the page before, or leave it out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_meet_without_gap_or_overlap() {
        let all: Vec<i64> = (0..7).collect();
        let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let page: Page<i64> = Page::asked(3, &token).unwrap();
            let after = page.after().unwrap_or(-1);
            let fetch = usize::try_from(page.fetch()).unwrap();
            let mut rows: Vec<i64> = all.iter().copied().filter(|n| *n > after).take(fetch).collect();
            token = page.cut(&mut rows, |row| *row);
            seen.extend(rows);
            pages += 1;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((seen, pages), (all, 3));
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert_eq!(Page::<i64>::asked(0, "???").unwrap_err().violations()[0].field, "page_token");
        assert!(Page::<i64>::asked(-1, "").is_err());
    }
}
