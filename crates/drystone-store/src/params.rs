//! Parameters: tuples bound in place, by name on SQLite and by position on PostgreSQL.
//!
//! SQLite numbers `$2` by order of appearance when it is bound by position, so `$n` is bound by its name there.

use std::ffi::CStr;

use rusqlite::Statement;
use tokio_postgres::types::ToSql;

use crate::row::Param;

/// The parameters of a statement: `()`, a tuple of up to twelve values, or a reference to one.
pub trait Params: Send + Sync {
    /// How many there are.
    #[doc(hidden)]
    const COUNT: usize;

    /// How many there are, where the type does not say.
    #[doc(hidden)]
    fn count(&self) -> usize {
        Self::COUNT
    }

    /// Binds `$1`, `$2` and so on.
    #[doc(hidden)]
    fn bind_sqlite(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()>;

    /// Hands the values over in order.
    #[doc(hidden)]
    fn bind_postgres<'p>(&'p self, values: &mut Vec<&'p (dyn ToSql + Sync)>);
}

/// Parameters that outlive the place where they were bound.
pub(crate) trait Bound: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// The values in order.
    fn values(&self) -> Vec<&(dyn ToSql + Sync)>;
}

impl<P: Params> Bound for P {
    fn count(&self) -> usize {
        Params::count(self)
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut values = Vec::with_capacity(Params::count(self));
        self.bind_postgres(&mut values);
        values
    }
}

impl Params for () {
    const COUNT: usize = 0;

    fn bind_sqlite(&self, _: &mut Statement<'_>) -> rusqlite::Result<()> {
        Ok(())
    }

    fn bind_postgres<'p>(&'p self, _: &mut Vec<&'p (dyn ToSql + Sync)>) {}
}

impl<P: Params + ?Sized> Params for &P {
    const COUNT: usize = P::COUNT;

    fn count(&self) -> usize {
        (**self).count()
    }

    fn bind_sqlite(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        (**self).bind_sqlite(statement)
    }

    fn bind_postgres<'p>(&'p self, values: &mut Vec<&'p (dyn ToSql + Sync)>) {
        (**self).bind_postgres(values);
    }
}

macro_rules! tuples {
    ($(($($name:ident $at:tt $label:literal),+) = $count:literal;)+) => {$(
        impl<$($name: Param),+> Params for ($($name,)+) {
            const COUNT: usize = $count;

            fn bind_sqlite(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
                $(statement.raw_bind_parameter::<&CStr, _>($label, &self.$at)?;)+
                Ok(())
            }

            fn bind_postgres<'p>(&'p self, values: &mut Vec<&'p (dyn ToSql + Sync)>) {
                $(values.push(&self.$at);)+
            }
        }
    )+};
}

tuples! {
    (A 0 c"$1") = 1;
    (A 0 c"$1", B 1 c"$2") = 2;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3") = 3;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4") = 4;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5") = 5;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6") = 6;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6", G 6 c"$7") = 7;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6", G 6 c"$7", H 7 c"$8") = 8;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6", G 6 c"$7", H 7 c"$8", I 8 c"$9") = 9;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6", G 6 c"$7", H 7 c"$8", I 8 c"$9",
     J 9 c"$10") = 10;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6", G 6 c"$7", H 7 c"$8", I 8 c"$9",
     J 9 c"$10", K 10 c"$11") = 11;
    (A 0 c"$1", B 1 c"$2", C 2 c"$3", D 3 c"$4", E 4 c"$5", F 5 c"$6", G 6 c"$7", H 7 c"$8", I 8 c"$9",
     J 9 c"$10", K 10 c"$11", L 11 c"$12") = 12;
}
