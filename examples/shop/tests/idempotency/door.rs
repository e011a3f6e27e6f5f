//! One request, by REST and by gRPC, and what its answer means.

use base64::Engine as _;
use bytes::Bytes;
use drystone_testkit::{Protocol, RawAnswer, at_once, grpc_request};
use http::Request;
use inventory_api::AddStockRequest;
use orders_api::PlaceOrderRequest;
use prost::Message as _;
use serde_json::json;

/// What the catalogue calls Sencha tea; a tenant that has none gets it with the first stock.
const TITLE: &str = "Sencha tea, 100 g";

/// How a caller comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// JSON over HTTP/1.1.
    Rest,
    /// gRPC over HTTP/2.
    Grpc,
}

/// One request under a key.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) tenant: &'static str,
    pub(crate) principal: &'static str,
    pub(crate) key: String,
    pub(crate) what: What,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Place an order of Assam tea.
    Order { quantity: i32, card: &'static str },
    /// Add units of Sencha tea to the stock.
    AddStock { quantity: i32 },
}

impl Ask {
    /// A caller of tenant `demo` orders.
    pub(crate) fn order(key: &str, quantity: i32, card: &'static str) -> Self {
        Self {
            tenant: "demo",
            principal: "user:ada",
            key: key.to_owned(),
            what: What::Order { quantity, card },
        }
    }

    /// A caller of tenant `demo` adds stock.
    pub(crate) fn stock(key: &str, quantity: i32) -> Self {
        let what = What::AddStock { quantity };
        Self { tenant: "demo", principal: "user:ada", key: key.to_owned(), what }
    }

    pub(crate) fn of_tenant(self, tenant: &'static str) -> Self {
        Self { tenant, ..self }
    }

    pub(crate) fn by(self, principal: &'static str) -> Self {
        Self { principal, ..self }
    }

    fn request(&self, door: Door) -> Request<Bytes> {
        let key = format!("\"{}\"", self.key);
        let headers = [
            ("idempotency-key", key.as_str()),
            ("drystone-tenant", self.tenant),
            ("drystone-principal", self.principal),
        ];
        match door {
            Door::Rest => {
                let (path, body) = self.json();
                let mut request = Request::post(path).header("content-type", "application/json");
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                request.body(body.into()).expect("a well-formed request")
            }
            Door::Grpc => {
                let (path, message) = self.message();
                grpc_request(path, &headers, &message)
            }
        }
    }

    fn json(&self) -> (&'static str, String) {
        match self.what {
            What::Order { quantity, card } => (
                "/v1/orders",
                json!({"userId": "ada", "sku": "tea-assam", "quantity": quantity, "cardToken": card})
                    .to_string(),
            ),
            What::AddStock { quantity } => {
                let price = json!({"currencyCode": "EUR", "minorUnits": "1250"});
                (
                    "/v1/stock/tea-sencha:add",
                    json!({"quantity": quantity, "title": TITLE, "price": price}).to_string(),
                )
            }
        }
    }

    fn message(&self) -> (&'static str, Vec<u8>) {
        match self.what {
            What::Order { quantity, card } => {
                let request = PlaceOrderRequest {
                    user_id: "ada".to_owned(),
                    sku: "tea-assam".to_owned(),
                    quantity,
                    card_token: card.to_owned(),
                };
                ("/shop.orders.v1.Orders/PlaceOrder", request.encode_to_vec())
            }
            What::AddStock { quantity } => {
                let price = inventory_api::Money { currency_code: "EUR".to_owned(), minor_units: 1250 };
                let (sku, title) = ("tea-sencha".to_owned(), TITLE.to_owned());
                let request = AddStockRequest { sku, quantity, title, price: Some(price) };
                ("/shop.inventory.v1.Inventory/AddStock", request.encode_to_vec())
            }
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The call's own outcome, an answer or a refusal: all of it but whether it came from the record.
    Own { bytes: Vec<u8>, replayed: bool },
    /// An equal call runs.
    InUse,
    /// The key stands for another payload.
    Reused,
    /// The call failed on its way and recorded nothing that the caller knows of: the code's name.
    Failed(String),
    /// No answer came.
    Lost,
}

impl Door {
    /// Sends the requests together, each to the server beside it.
    pub(crate) async fn volley(self, asks: &[(&str, Ask)]) -> Vec<Outcome> {
        let protocol = if self == Self::Rest { Protocol::Http1 } else { Protocol::Http2 };
        let requests = asks.iter().map(|(to, ask)| ((*to).to_owned(), ask.request(self))).collect();
        let answers = at_once(protocol, requests).await;
        answers.into_iter().map(|answer| answer.map_or(Outcome::Lost, |it| self.outcome(&it))).collect()
    }

    /// Sends one request.
    pub(crate) async fn ask(self, to: &str, ask: &Ask) -> Outcome {
        self.volley(&[(to, ask.clone())]).await.remove(0)
    }

    fn outcome(self, answer: &RawAnswer) -> Outcome {
        let (code, reason, bytes) = match self {
            Self::Rest => rest(answer),
            Self::Grpc => grpc(answer),
        };
        match reason.as_str() {
            "IDEMPOTENCY_KEY_IN_USE" => Outcome::InUse,
            "IDEMPOTENCY_KEY_REUSED" => Outcome::Reused,
            _ if ["UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED"].contains(&code.as_str()) => {
                Outcome::Failed(code)
            }
            _ => Outcome::Own { bytes, replayed: answer.header("idempotency-replayed") == Some("true") },
        }
    }
}

/// Code, reason and content of an answer by REST; checks that the status is that of the reason.
fn rest(answer: &RawAnswer) -> (String, String, Vec<u8>) {
    let mut bytes = answer.status.to_string().into_bytes();
    bytes.extend_from_slice(&answer.body);
    if answer.status == 200 {
        return ("OK".to_owned(), String::new(), bytes);
    }
    let problem: serde_json::Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let reason = text("reason");
    let code = text("code");
    match (reason.as_str(), code.as_str()) {
        ("IDEMPOTENCY_KEY_IN_USE", _) => assert_eq!(answer.status, 409),
        ("IDEMPOTENCY_KEY_REUSED", _) => assert_eq!(answer.status, 422),
        (_, "UNKNOWN") => assert_eq!(answer.status, 500),
        _ => {}
    }
    (code, reason, bytes)
}

/// Code, reason and content of an answer by gRPC.
fn grpc(answer: &RawAnswer) -> (String, String, Vec<u8>) {
    let number = answer.grpc_code();
    let details = answer.header("grpc-status-details-bin").unwrap_or_default();
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let details = engine.decode(details).expect("details in base64");
    let has = |text: &str| details.windows(text.len()).any(|part| part == text.as_bytes());
    let reason = ["IDEMPOTENCY_KEY_IN_USE", "IDEMPOTENCY_KEY_REUSED"].into_iter().find(|name| has(name));
    let code = match number {
        0 => "OK",
        2 => "UNKNOWN",
        4 => "DEADLINE_EXCEEDED",
        10 => "ABORTED",
        14 => "UNAVAILABLE",
        _ => "another",
    };
    let mut bytes = number.to_string().into_bytes();
    bytes.extend_from_slice(answer.header("grpc-message").unwrap_or_default().as_bytes());
    bytes.extend_from_slice(&details);
    bytes.extend_from_slice(answer.grpc_message());
    (code.to_owned(), reason.unwrap_or_default().to_owned(), bytes)
}
