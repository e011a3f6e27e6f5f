//! Rows of every type of column, made from a seed.

use drystone_store::{Row, Store};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::world::World;

/// A row with a column of every type.
#[derive(Clone, Debug, PartialEq, Row)]
pub(crate) struct Kinds {
    pub(crate) id: i64,
    pub(crate) big: Option<i64>,
    pub(crate) small: Option<i32>,
    pub(crate) words: Option<String>,
    pub(crate) raw: Option<Vec<u8>>,
    pub(crate) yes: Option<bool>,
    pub(crate) real: Option<f64>,
    pub(crate) ident: Option<Uuid>,
    pub(crate) at: Option<OffsetDateTime>,
    pub(crate) doc: Option<Value>,
}

/// Numbers from a seed: the same everywhere.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(6) == 0 { None } else { Some(value(self)) }
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone()
    }

    fn integer(&mut self) -> i64 {
        let any = self.next().cast_signed();
        self.one_of(&[0, 1, -1, i64::MIN, i64::MAX, any, any >> 40])
    }

    fn text(&mut self) -> String {
        let alphabet = [
            'a',
            'Z',
            ' ',
            '"',
            '\\',
            '\'',
            '\n',
            '\r',
            '\t',
            '\u{1}',
            '\u{7f}',
            'ä',
            '€',
            '\u{1f600}',
            '0',
            '[',
            '{',
            ',',
            '\u{2028}',
        ];
        let fixed = ["", "null", "5", "1e3", "true", "NaN", "\\x00", "infinity", "2020-01-01"];
        if self.below(3) == 0 {
            return self.one_of(&fixed).to_owned();
        }
        (0..self.below(40)).map(|_| self.one_of(&alphabet)).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(50)).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn real(&mut self) -> f64 {
        let any = f64::from_bits(self.next());
        let any = if any.is_nan() { 0.1 + 0.2 } else { any };
        self.one_of(&[
            any,
            0.0,
            1.0,
            0.1,
            1e15,
            1e16,
            1e-5,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
            5e-324,
        ])
    }

    fn moment(&mut self) -> OffsetDateTime {
        let seconds = i64::try_from(self.below(9_000_000_000)).unwrap() - 2_000_000_000;
        let micros = self.below(1_000_000);
        let micros = self.one_of(&[0, micros, micros - micros % 1000, 500_000]);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap() + Duration::microseconds(micros.cast_signed())
    }

    fn json(&mut self, depth: u32) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => json!(self.integer()),
            // Larger ones are kept as reals by SQLite, in a column that is not declared as text.
            1 => json!(self.next() >> 1),
            2 => {
                // PostgreSQL has one zero, and no infinity.
                let real = self.real();
                // A whole number comes back as an integer: the databases see no difference.
                let kept = real.is_finite() && real.fract() != 0.0;
                if kept { json!(real) } else { json!(1.5) }
            }
            3 => json!(self.below(2) == 0),
            4 | 5 => json!(self.text()),
            6 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => Value::Object((0..self.below(5)).map(|_| (self.text(), self.json(depth - 1))).collect()),
        }
    }

    pub(crate) fn kinds(&mut self, id: i64) -> Kinds {
        Kinds {
            id,
            big: self.maybe(Self::integer),
            small: self.maybe(|seeded| i32::try_from(seeded.integer() >> 33).unwrap()),
            words: self.maybe(Self::text),
            raw: self.maybe(Self::bytes),
            yes: self.maybe(|seeded| seeded.below(2) == 0),
            real: self.maybe(Self::real),
            ident: self
                .maybe(|seeded| Uuid::from_u128(u128::from(seeded.next()) << 64 | u128::from(seeded.next()))),
            at: self.maybe(Self::moment),
            doc: self.maybe(|seeded| seeded.json(3)),
        }
    }
}

/// Fills a tenant with rows of all tables.
pub(crate) async fn fill(world: &World, tenant: &str, seed: u64, count: i64) {
    let mut seeded = Seeded(seed);
    let mut cx = world.cx_of(tenant);
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    for n in 0..count {
        // Short transactions: a busy machine must not meet the hold limit.
        if n % 8 == 7 {
            tx.commit().await.unwrap();
            tx = world.store.begin(&mut cx).await.unwrap();
        }
        let item = Uuid::from_u128(u128::from(seeded.next()));
        tx.query("insert into items (id, sku, quantity, note) values ($1, $2, $3, $4)")
            .bind((item, format!("sku-{n}"), n, seeded.text()))
            .execute()
            .await
            .unwrap();
        tx.query("insert into lines (id, item) values ($1, $2)").bind((n, item)).execute().await.unwrap();
        let k = seeded.kinds(n);
        tx.query(
            "insert into kinds (id, big, small, words, raw, yes, real, ident, at, doc) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind((k.id, k.big, k.small, &k.words, &k.raw, k.yes, k.real, k.ident, k.at, &k.doc))
        .execute()
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
}

/// All rows of a tenant as the module's code reads them.
#[derive(Debug, PartialEq)]
pub(crate) struct All {
    pub(crate) items: Vec<(Uuid, String, i64, String)>,
    pub(crate) lines: Vec<(i64, Uuid)>,
    pub(crate) kinds: Vec<Kinds>,
}

/// Reads all rows of a tenant.
pub(crate) async fn all(world: &World, store: &Store, tenant: &str) -> All {
    let mut cx = world.cx_of(tenant);
    let mut read = store.read(&mut cx).await.unwrap();
    let items = read.query("select id, sku, quantity, note from items order by id").all().await.unwrap();
    let lines = read.query("select id, item from lines order by id").all().await.unwrap();
    let kinds = "select id, big, small, words, raw, yes, real, ident, at, doc from kinds order by id";
    All { items, lines, kinds: read.query(kinds).all().await.unwrap() }
}
