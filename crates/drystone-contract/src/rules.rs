//! The list of rules: one line each, and the only place where an id is given out.

use crate::finding::Rule;

macro_rules! rules {
    ($($name:ident $id:literal $title:literal,)*) => {
        $(pub(crate) static $name: Rule = Rule { id: $id, title: $title };)*

        /// Every rule, by id.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    TEMPLATE "DRY-C001" "a path template follows the grammar",
    PATH_FIELD "DRY-C002" "a path variable names a field of the request",
    PATH_SCALAR "DRY-C003" "a path variable is one scalar or enum",
    BODY_FIELD "DRY-C004" "`body` names a field of the request",
    ROUTE "DRY-C005" "a route leads to one method",
    BODY_VERB "DRY-C006" "GET and DELETE have no body",
    PATTERN "DRY-C007" "an HTTP rule names one verb and path, and additional bindings do not nest",
    RESPONSE_BODY "DRY-C008" "`response_body` names a field of the response",
    TIMEOUT "DRY-C009" "a timeout is a whole number and ms, s or m",
    KEY "DRY-C010" "a method without side effects requires no idempotency key",
    STREAMING "DRY-C011" "methods are unary",
    STRAY_REASON "DRY-C012" "a reason stands in an enum of reasons",
    REASONS_ZERO "DRY-C013" "an enum of reasons has a zero value named *_UNSPECIFIED",
    REASON_CODE "DRY-C014" "a reason has a code, and not OK",
    REASON_HTTP "DRY-C015" "a reason's HTTP status is 400 to 599",
    EVENT_KEY "DRY-C016" "an event's key names a field",
    EVENT_KEY_SCALAR "DRY-C017" "an event's key is one string, integer, bool or enum",
    EVENT_TYPE "DRY-C018" "a type of event is one message",
    PACKAGE "DRY-C019" "a contract has a package",
    REASONS_NESTED "DRY-C020" "an enum of reasons stands at the top of its file",
    NAMES "DRY-C021" "generated names do not collide",
    JSON "DRY-C022" "every field has a canonical JSON form",
    ENCODING "DRY-C023" "every field encodes the same every time",
    SHADOWED "DRY-C024" "a method hides no message that its service uses",
    COALESCE "DRY-C025" "only methods without side effects coalesce, and keep answers for 1 ms to 60 s",
}
