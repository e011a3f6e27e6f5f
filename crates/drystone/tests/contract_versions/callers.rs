//! Callers that were built with either version of the contract, by REST and by gRPC.

use bytes::Bytes;
use drystone_testkit::{Protocol, RawAnswer, at_once, grpc_request};
use http::Request;
use ledger_api::{after, before};
use prost::Message as _;
use serde_json::{Value, json};

use crate::servers::{Server, Version};

/// Who calls, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    version: Version,
    protocol: Protocol,
}

/// What came of booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is booked.
    Entry { id: String, replayed: bool },
    /// The key stands for another payload.
    Reused,
}

impl Caller {
    /// A caller with JSON: one of the newer version writes the new field always, one of the older knows nothing of it.
    pub(crate) fn rest(version: Version) -> Self {
        Self { version, protocol: Protocol::Http1 }
    }

    /// A caller with the generated messages.
    pub(crate) fn grpc(version: Version) -> Self {
        Self { version, protocol: Protocol::Http2 }
    }

    /// Books an amount on the account that is called as the key. A purpose is for callers of the newer version.
    pub(crate) async fn book(self, server: &Server, key: &str, amount: i64, purpose: &str) -> Outcome {
        // JSON callers of the newer version meet servers of the older, which refuse fields that they do not know.
        let knows = self.version == Version::After && server.version == Version::After;
        let request = match self.protocol {
            Protocol::Http1 => {
                let mut body = json!({"account": key, "amount": amount.to_string()});
                if knows {
                    body["purpose"] = purpose.into();
                }
                let request = Request::post("/v1/entries").header("content-type", "application/json");
                request.header("idempotency-key", key).body(body.to_string().into()).expect("well-formed")
            }
            Protocol::Http2 => {
                let message = self.message(key, amount, purpose);
                grpc_request("/test.ledger.v1.Ledger/Book", &[("idempotency-key", key)], &message)
            }
        };
        let answer = self.send(server, request).await;
        let replayed = answer.header("idempotency-replayed") == Some("true");
        match self.protocol {
            Protocol::Http1 => read_json(&answer, replayed),
            Protocol::Http2 => self.read_message(&answer, replayed),
        }
    }

    /// Entries and their sum.
    pub(crate) async fn balance(self, server: &Server, account: &str) -> (i64, i64) {
        let message = before::GetBalanceRequest { account: account.to_owned() }.encode_to_vec();
        let request = grpc_request("/test.ledger.v1.Ledger/GetBalance", &[], &message);
        let grpc = Self { protocol: Protocol::Http2, ..self };
        let answer = grpc.send(server, request).await;
        assert_eq!(answer.grpc_code(), 0, "{answer:?}");
        let balance = before::Balance::decode(answer.grpc_message()).expect("a balance");
        (balance.entries, balance.total)
    }

    fn message(self, account: &str, amount: i64, purpose: &str) -> Vec<u8> {
        let (account, purpose) = (account.to_owned(), purpose.to_owned());
        match self.version {
            Version::Before => before::BookRequest { account, amount }.encode_to_vec(),
            Version::After => after::BookRequest { account, amount, purpose }.encode_to_vec(),
        }
    }

    fn read_message(self, answer: &RawAnswer, replayed: bool) -> Outcome {
        if answer.grpc_code() != 0 {
            let message = answer.header("grpc-message").unwrap_or_default();
            assert!(message.contains("used before"), "{answer:?}");
            return Outcome::Reused;
        }
        let id = match self.version {
            Version::Before => before::Entry::decode(answer.grpc_message()).expect("an entry").id,
            Version::After => after::Entry::decode(answer.grpc_message()).expect("an entry").id,
        };
        Outcome::Entry { id, replayed }
    }

    async fn send(self, server: &Server, request: Request<Bytes>) -> RawAnswer {
        at_once(self.protocol, vec![(server.address.clone(), request)]).await.remove(0).expect("an answer")
    }
}

fn read_json(answer: &RawAnswer, replayed: bool) -> Outcome {
    let json: Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    if answer.status != 200 {
        assert_eq!((answer.status, &json["reason"]), (422, &"IDEMPOTENCY_KEY_REUSED".into()), "{json}");
        return Outcome::Reused;
    }
    Outcome::Entry { id: json["id"].as_str().expect("an id").to_owned(), replayed }
}
