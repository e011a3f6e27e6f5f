//! The model that gateway and generator read, from the descriptors of one contract.

#[path = "support/compile.rs"]
mod compile;

use std::time::Duration;

use drystone_contract::{
    Body, Coalescing, Code, Contract, ContractError, Effect, HttpVerb, KeyPolicy, MethodKind, Part,
    events_of, is_recursive,
};

use crate::compile::compile;

const TEXT: &str = r#"
syntax = "proto3";

package model.v1;

import "drystone/options.proto";
import "google/api/annotations.proto";

// Keeps things.
//
// Two paragraphs.
service Things {
  // Reads one.
  rpc Get(Request) returns (Thing) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {
      get: "/v1/things/{id}"
      additional_bindings { get: "/v1/{parent.name=shelves/*}/things/{id}" response_body: "name" }
    };
    option (drystone.method) = { timeout: "500ms" coalesce: {} };
  }

  rpc Put(Request) returns (Thing) {
    option idempotency_level = IDEMPOTENT;
    option (google.api.http) = { put: "/v1/things/{id}" body: "parent" };
    option (drystone.method) = { key: REQUIRED };
  }

  rpc Add(Request) returns (Tree) {
    option (drystone.method) = { key: IGNORED };
  }

  rpc Make(Request) returns (Thing);

  rpc Find(Request) returns (Thing) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (drystone.method) = { coalesce: { ttl: "1s" } };
  }
}

enum ThingsReason {
  option (drystone.reasons) = true;
  THINGS_REASON_UNSPECIFIED = 0;
  // It is gone.
  GONE = 1 [(drystone.reason) = { code: NOT_FOUND, http: 410 }];
  BUSY = 2 [(drystone.reason) = { code: ABORTED }]; // Try again.
}

message Request {
  string id = 1;
  Parent parent = 2;
}

message Parent {
  string name = 1;
}

message Thing {
  string name = 1;

  // It has a new name.
  message Renamed {
    option (drystone.event) = { key: "id", type: "things.renamed" };
    string id = 1;
  }
}

message Tree {
  map<string, Tree> below = 1;
}

message Made {
  option (drystone.event) = { key: "id" };
  string id = 1;
}
"#;

fn contract() -> Contract {
    let bytes = compile("model.proto", TEXT).encode_to_vec();
    Contract::parse(&bytes, "model.v1.Things").expect("the contract breaks no rule")
}

#[test]
fn service_and_methods() {
    let contract = contract();
    assert_eq!(contract.package, "model.v1");
    assert_eq!(contract.service, "Things");
    assert_eq!(contract.comment, "Keeps things.\n\nTwo paragraphs.");
    let seen: Vec<_> =
        contract.methods.iter().map(|it| (it.index, &*it.name, it.effect, it.key, it.timeout)).collect();
    assert_eq!(
        seen,
        [
            (0, "Get", Effect::NoSideEffects, KeyPolicy::Ignored, Some(Duration::from_millis(500))),
            (1, "Put", Effect::Idempotent, KeyPolicy::Required, None),
            (2, "Add", Effect::Mutating, KeyPolicy::Ignored, None),
            (3, "Make", Effect::Mutating, KeyPolicy::Honoured, None),
            (4, "Find", Effect::NoSideEffects, KeyPolicy::Ignored, None),
        ]
    );
    let (joined, kept) = (Coalescing { ttl: None }, Coalescing { ttl: Some(Duration::from_secs(1)) });
    let coalesce: Vec<_> = contract.methods.iter().map(|it| it.coalesce).collect();
    assert_eq!(coalesce, [Some(joined), None, None, None, Some(kept)]);
    let get = &contract.methods[0];
    assert_eq!(get.path, "/model.v1.Things/Get");
    assert_eq!(get.comment, "Reads one.");
    assert_eq!(get.kind, MethodKind::Unary);
    assert_eq!(get.input.full_name(), "model.v1.Request");
    assert_eq!(get.output.full_name(), "model.v1.Thing");
}

#[test]
fn bindings_and_their_templates() {
    let contract = contract();
    let [main, more] = &contract.methods[0].bindings[..] else { panic!("two bindings") };
    assert_eq!((&main.verb, &main.body, &main.response_body), (&HttpVerb::Get, &Body::None, &None));
    assert_eq!(more.response_body.as_deref(), Some("name"));
    assert_eq!(more.template.shape(), "/v1/shelves/*/things/*");
    assert_eq!(more.template.parts()[2], Part::Any);
    let variables: Vec<_> =
        more.template.variables().iter().map(|it| (it.name(), it.parts.clone())).collect();
    assert_eq!(variables, [("parent.name".to_owned(), 1..3), ("id".to_owned(), 4..5)]);

    let put = &contract.methods[1].bindings[0];
    assert_eq!((&put.verb, &put.body), (&HttpVerb::Put, &Body::Field("parent".to_owned())));
    assert!(contract.methods[3].bindings.is_empty());
}

#[test]
fn reasons_with_their_statuses() {
    let contract = contract();
    let seen: Vec<_> =
        contract.reasons.iter().map(|it| (&*it.name, it.number, it.code, it.http, &*it.comment)).collect();
    assert_eq!(
        seen,
        [("GONE", 1, Code::NotFound, 410, "It is gone."), ("BUSY", 2, Code::Aborted, 409, "Try again.")]
    );
    assert!(contract.reasons.iter().all(|it| it.domain == "model.v1" && it.enum_name == "ThingsReason"));
}

#[test]
fn events_with_their_names() {
    let contract = contract();
    let mut seen: Vec<_> =
        contract.events.iter().map(|it| (&*it.event_type, &*it.key, &*it.comment)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("model.v1.Made", "id", ""), ("things.renamed", "id", "It has a new name.")]);
    assert!(events_of(&contract.pool, "other.v1").is_empty());
}

#[test]
fn recursion_is_seen_through_maps() {
    let contract = contract();
    assert!(is_recursive(&contract.methods[2].output));
    assert!(!is_recursive(&contract.methods[2].input));
}

#[test]
fn what_cannot_be_read_is_named() {
    let pool = compile("model.proto", TEXT);
    let error = Contract::from_pool(&pool, "model.v1.Others").expect_err("there is no such service");
    assert_eq!(
        error.to_string(),
        "the descriptor set declares no service `model.v1.Others`; it declares `model.v1.Things`"
    );
    assert!(matches!(Contract::parse(b"\xff", "model.v1.Things"), Err(ContractError::Descriptors { .. })));

    let wrong = compile("wrong.proto", &TEXT.replace("\"500ms\"", "\"soon\""));
    let Err(ContractError::Rules { findings, .. }) = Contract::from_pool(&wrong, "model.v1.Things") else {
        panic!("a wrong timeout is a finding");
    };
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].id, findings[0].line), ("DRY-C009", 20));
}
