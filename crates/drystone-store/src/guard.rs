//! Which statements a transaction does not run, by their first word.
//!
//! The wall stops forgetting, not hostile SQL: it keeps a handler from ending the transaction behind the store's back or from opening
//! another database. On SQLite the authorizer stands behind this list and sees what a first word does not show.

use crate::error::Fault;

const CONTROL: &str = "end it with commit, commit_with, refuse or drop";
const MAINTENANCE: &str = "it belongs to the store or to a migration";

const REFUSED: [(&str, &str); 19] = [
    ("abort", CONTROL),
    ("attach", "each module has its own database; call the other module"),
    ("begin", CONTROL),
    ("commit", CONTROL),
    ("declare", "a cursor can outlive its transaction and show its rows to the next tenant; use a query"),
    ("detach", "each module has its own database; call the other module"),
    ("discard", MAINTENANCE),
    ("do", MAINTENANCE),
    ("end", CONTROL),
    ("listen", MAINTENANCE),
    ("pragma", MAINTENANCE),
    ("prepare", CONTROL),
    ("release", CONTROL),
    ("reset", MAINTENANCE),
    ("rollback", CONTROL),
    ("savepoint", CONTROL),
    ("set", MAINTENANCE),
    ("start", CONTROL),
    ("vacuum", MAINTENANCE),
];

/// Refuses transaction control, other databases and settings.
pub(crate) fn check(sql: &str) -> Result<(), Fault> {
    let word = first_word(sql);
    if word.starts_with("*/") {
        return Err(Fault::Refused {
            keyword: word.to_owned(),
            remedy: "do not nest comments before a statement",
        });
    }
    let found = REFUSED.iter().find(|(refused, _)| word.eq_ignore_ascii_case(refused));
    match found {
        Some((_, remedy)) => Err(Fault::Refused { keyword: word.to_ascii_uppercase(), remedy }),
        None => Ok(()),
    }
}

/// What [`check`] refuses, and what would change for whom a transaction works. Only PostgreSQL has settings that SQL can reach.
pub(crate) fn check_postgres(sql: &str) -> Result<(), Fault> {
    for name in ["set_config", "drystone_admit"] {
        if sql.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes())) {
            return Err(Fault::Refused {
                keyword: name.to_ascii_uppercase(),
                remedy: "whose data a transaction sees follows from the call",
            });
        }
    }
    check(sql)
}

/// The first word after blanks, comments and stray semicolons.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            break;
        }
    }
    let nested = if rest.starts_with("*/") { 2 } else { 0 };
    let end = rest[nested..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - nested) + nested;
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_refused_however_it_is_dressed() {
        for sql in [
            "commit",
            "  COMMIT;",
            "-- x\ncommit",
            "/* a */ /* b */\n\tRollBack to x",
            ";;savepoint a",
            "ATTACH 'x' as y",
            "pragma foreign_keys = off",
            "vacuum",
            "/* /* */ */ commit",
        ] {
            assert!(check(sql).is_err(), "{sql}");
        }
        for sql in [
            "select set_config('app.tenant', 'b', true)",
            "select \"SET_Config\" ('app.tenant', 'b', true)",
            "select * from drystone_admit(1, 'b', '', '', '')",
            "COMMIT",
        ] {
            assert!(check_postgres(sql).is_err(), "{sql}");
        }
        assert!(check_postgres("select current_setting('app.tenant')").is_ok());
        for sql in
            ["select 1", "insert into commits values (1)", "with a as (select 1) select * from a", "", "--"]
        {
            assert!(check(sql).is_ok(), "{sql}");
        }
    }
}
