"""Calls a running shop as a stranger does: grpcio, and stubs made from nothing but the .proto files.

Usage: check_shop.py HOST:PORT, with the directory of the stubs on PYTHONPATH. Prints a line for each check. Ends with 1 if one failed.
"""

import sys
import time
import traceback

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from shop.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shop.orders.v1 import orders_pb2, orders_pb2_grpc

# How long a call may take, in seconds.
PATIENCE = 30


class Shop:
    """The stubs, all on one connection."""

    def __init__(self, address):
        channel = grpc.insecure_channel(address)
        grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        self.orders = orders_pb2_grpc.OrdersStub(channel)
        self.inventory = inventory_pb2_grpc.InventoryStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    def place(self, key, timeout=PATIENCE, **fields):
        """Places an order; gives the order and whether the answer was a replay."""
        order = {"user_id": "ada", "sku": "tea-assam", "quantity": 2, "card_token": "tok_visa", **fields}
        metadata = [("idempotency-key", f'"{key}"')]
        request = orders_pb2.PlaceOrderRequest(**order)
        answer, call = self.orders.PlaceOrder.with_call(request, metadata=metadata, timeout=timeout)
        return answer, is_replay(call)

    def get(self, order_id):
        return self.orders.GetOrder(orders_pb2.GetOrderRequest(order_id=order_id), timeout=PATIENCE)

    def stock(self, sku="tea-assam"):
        stock = self.inventory.GetStock(inventory_pb2.GetStockRequest(sku=sku), timeout=PATIENCE)
        return stock.available, stock.reserved


def is_replay(call):
    """Whether an answer came from the record. A refusal has no message before its trailers, so all of its metadata is trailing."""
    metadata = call.initial_metadata() if call.code() == grpc.StatusCode.OK else call.trailing_metadata()
    return dict(metadata).get("idempotency-replayed") == "true"


def equal(what, actual, expected):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def refused(call, code):
    """The error of a call that must be refused with this code."""
    try:
        answer = call()
    except grpc.RpcError as error:
        equal(f"the code (message {error.details()!r})", error.code(), code)
        return error
    raise AssertionError(f"expected {code}, got the answer {answer!r}")


def detail(error, kind):
    """The one detail of this kind, read as any client of google.rpc.Status reads it."""
    status = rpc_status.from_call(error)
    if status is None:
        raise AssertionError(f"no google.rpc.Status in the trailers: {error.trailing_metadata()!r}")
    equal("the code in the status", status.code, error.code().value[0])
    equal("the message in the status", status.message, error.details())
    found = kind()
    unpacked = [each for each in status.details if each.Unpack(found)]
    equal(f"details of type {kind.DESCRIPTOR.full_name} among {status.details!r}", len(unpacked), 1)
    return found


def reason(error, name, domain):
    info = detail(error, error_details_pb2.ErrorInfo)
    equal("the reason and its domain", (info.reason, info.domain), (name, domain))
    return info


def an_order_is_placed_and_read(shop):
    available, reserved = shop.stock()
    order, replayed = shop.place("py-1")
    equal("the state", order.state, orders_pb2.ORDER_STATE_CONFIRMED)
    equal("the total", (order.total.currency_code, order.total.minor_units), ("EUR", 1780))
    equal("a replay", replayed, False)
    equal("the order as it is read", shop.get(order.id), order)
    equal("the stock", shop.stock(), (available - 2, reserved))


def a_declined_card_is_a_reason_and_the_stock_is_back(shop):
    before = shop.stock()
    error = refused(lambda: shop.place("py-2", card_token="tok_declined"), grpc.StatusCode.FAILED_PRECONDITION)
    info = reason(error, "CARD_DECLINED", "shop.orders.v1")
    equal("the order", shop.get(info.metadata["order_id"]).state, orders_pb2.ORDER_STATE_DECLINED)
    equal("the stock", shop.stock(), before)

    again = refused(lambda: shop.place("py-2", card_token="tok_declined"), grpc.StatusCode.FAILED_PRECONDITION)
    equal("a replay of the first refusal", is_replay(error), False)
    equal("the same refusal", detail(again, error_details_pb2.ErrorInfo), info)
    equal("a replayed refusal", is_replay(again), True)


def an_incomplete_order_names_each_field(shop):
    error = refused(
        lambda: shop.place("py-3", user_id="", quantity=0, card_token=""), grpc.StatusCode.INVALID_ARGUMENT
    )
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    equal(
        "the violations",
        [(each.field, each.description) for each in violations],
        [("user_id", "is empty"), ("card_token", "is empty"), ("quantity", "must be 1 to 1000000")],
    )


def an_unknown_order_is_not_found(shop):
    error = refused(lambda: shop.get("none"), grpc.StatusCode.NOT_FOUND)
    reason(error, "ORDER_NOT_FOUND", "shop.orders.v1")


def the_same_key_gives_the_same_answer(shop):
    order, _ = shop.place("py-4")
    before = shop.stock()
    again, replayed = shop.place("py-4")
    equal("the answer", again, order)
    equal("a replay", replayed, True)
    equal("the stock", shop.stock(), before)


def the_same_key_with_another_payload_is_refused(shop):
    shop.place("py-5")
    before = shop.stock()
    error = refused(lambda: shop.place("py-5", quantity=3), grpc.StatusCode.INVALID_ARGUMENT)
    reason(error, "IDEMPOTENCY_KEY_REUSED", "drystone")
    equal("the stock", shop.stock(), before)


def a_call_out_of_time_is_completed_once_by_its_key(shop):
    available, reserved = shop.stock()
    refused(lambda: shop.place("py-6", timeout=0.000001), grpc.StatusCode.DEADLINE_EXCEEDED)
    order = until_it_is_done(lambda: shop.place("py-6"))
    equal("the state", order.state, orders_pb2.ORDER_STATE_CONFIRMED)
    equal("the stock", shop.stock(), (available - 2, reserved))


def until_it_is_done(place):
    """Sends again for as long as the server says that the call that was given up has not ended there yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return place()[0]
        except grpc.RpcError as error:
            equal(f"the code (message {error.details()!r})", error.code(), grpc.StatusCode.ABORTED)
            reason(error, "IDEMPOTENCY_KEY_IN_USE", "drystone")
            if time.monotonic() > deadline:
                raise AssertionError("the call that was given up still runs") from error


def tenants_are_walled_off(shop):
    metadata = [("idempotency-key", '"py-1"'), ("drystone-tenant", "acme")]
    request = orders_pb2.PlaceOrderRequest(user_id="ada", sku="tea-assam", quantity=2, card_token="tok_visa")
    error = refused(
        lambda: shop.orders.PlaceOrder(request, metadata=metadata, timeout=PATIENCE),
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    reason(error, "UNKNOWN_USER", "shop.orders.v1")


def the_health_service_answers(shop):
    for service in ["", "shop.orders.v1.Orders", "shop.inventory.v1.Inventory"]:
        answer = shop.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
        equal(f"the health of {service!r}", answer.status, health_pb2.HealthCheckResponse.SERVING)
    unknown = health_pb2.HealthCheckRequest(service="shop.nothing.v1.Nothing")
    refused(lambda: shop.health.Check(unknown, timeout=PATIENCE), grpc.StatusCode.NOT_FOUND)


CHECKS = [
    the_health_service_answers,
    an_order_is_placed_and_read,
    a_declined_card_is_a_reason_and_the_stock_is_back,
    an_incomplete_order_names_each_field,
    an_unknown_order_is_not_found,
    the_same_key_gives_the_same_answer,
    the_same_key_with_another_payload_is_refused,
    a_call_out_of_time_is_completed_once_by_its_key,
    tenants_are_walled_off,
]


def main():
    shop = Shop(sys.argv[1])
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(shop)
            print(f"ok      {name}")
        except AssertionError as error:
            failed += 1
            print(f"FAILED  {name}\n        {error}")
        except Exception:
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}")
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
