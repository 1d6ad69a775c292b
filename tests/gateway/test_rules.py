"""The two doors have the same rules: what REST lets in, gRPC lets in, and the other way round."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import protovalidate
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mercato.gateway import email, order_shapes, product_shapes, sessions, users
from mercato.gateway.account import rest
from mercato.gateway.decoding import Decoder
from mercato.gateway.oauth import providers
from mercato.gateway.shapes import Request
from mercato.kernel.errors import Violation
from mercato.pb import (
    account_pb2,
    inventory_pb2,
    mailer_pb2,
    money_pb2,
    oauth_pb2,
    order_pb2,
    session_pb2,
    user_pb2,
)
from tests.security.test_methods import ALL, Method

LENGTHS = (1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 65, 100, 101, 200, 201, 254, 255, 256, 257, 1024,
           1025, 5000, 5001, 200_000, 200_001)  # fmt: skip
ID = "0123456789abcdef01234567"
TEXTS = [
    "", " ", "a b", "-ab", ".ab", "_ab", "a.b", "a-b_c.d", "ab\n", "\nab", "a\x00b",
    "\u00e9\u00e9\u00e9\u00e9", "\u0661\u0662\u0663",
    "a@b.cd", "a@b.cd\n", "a@b", "a@b.c", "@b.cd", "a@.cd", "a@b..cd", "a.b+c@d-e.fg", "a..b@c.de",
    "a@-b.cd", "a@b-.cd", "a@b.c-", "a@b.1d", "a b@c.de", '"a"@b.cd', "a@b.cd,e@f.gh",
    "\u00e9@b.cd",
    "a" * 31 + "." + "b" * 32 + "@b.cd", "a" * 32 + "." + "b" * 32 + "@b.cd", "=?a@b.cd",
    "a=?b@c.de", "a?=b@c.de",
    "a" * 64 + "@b.cd", "a" * 65 + "@b.cd", "a@" + "b" * 63 + ".cd", "a@" + "b" * 64 + ".cd",
    "a@" + "b." * 126 + "cd", "a@" + "b." * 125 + "cd",
    ID, ID + "\n", ID[1:], ID + "0", "g" * 24, "PENDING", "COMPLETED", "CANCELLED", "pending",
    "name", "-name", "--name", "stock", "created_at", "other",
    *("a" * length for length in LENGTHS), *("\u00e9" * length for length in LENGTHS),
    *("A" * length + "\n" for length in (8, 64)),
]  # fmt: skip
NUMBERS = [
    -(10**10) - 1, -(10**9) - 1, -(10**9), -10_001, -1, 0, 1, 2, 20, 100, 101, 10_000, 10_001,
    999_999, 10**6, 10**6 + 1, 10**9, 10**9 + 1, 2**31 - 1, 10**10, 10**10 + 1,
]  # fmt: skip

RULES: list[tuple[type, dict[str, Any], type[Message], dict[str, str]]] = [
    (users.Registration, {}, user_pb2.UserRequest, {"email": "", "password": "", "username": ""}),
    (users.Credentials, {"email": "a"}, user_pb2.AuthRequest, {"email": "", "password": ""}),
    (users.Credentials, {"username": "a"}, user_pb2.AuthRequest, {"username": "", "otp": ""}),
    (rest.Verification, {}, account_pb2.VerifyEmailRequest, {"token": ""}),
    (rest.Forgotten, {}, account_pb2.ForgotPasswordRequest, {"email": ""}),
    (rest.NewPassword, {}, account_pb2.ResetPasswordRequest, {"token": "", "password": ""}),
    (rest.TotpBeginning, {}, account_pb2.BeginTotpRequest, {"password": ""}),
    (rest.TotpConfirmation, {}, account_pb2.ConfirmTotpRequest, {"code": ""}),
    (rest.TotpEnd, {}, account_pb2.EndTotpRequest, {"password": "", "code": ""}),
    (
        users.ProfileChange,
        {},
        user_pb2.UpdateProfileRequest,
        {"username": "", "email": "", "password": "", "current_password": ""},
    ),
    *(
        (kind, {}, message, dict.fromkeys(
            ("name", "description", "category", "stock", "sku", "price"), ""
        ))
        for kind, message in (
            (product_shapes.NewProduct, inventory_pb2.CreateProductRequest),
            (product_shapes.ProductReplacement, inventory_pb2.UpdateProductRequest),
            (product_shapes.ProductChange, inventory_pb2.UpdateProductRequest),
        )
    ),
    (product_shapes.StockChange, {}, inventory_pb2.AdjustStockRequest, {"delta": "", "reason": ""}),
    (
        product_shapes.StockHeaders,
        {},
        inventory_pb2.AdjustStockRequest,
        {"idempotency-key": "idempotency_key"},
    ),
    (
        product_shapes.ProductListing,
        {},
        inventory_pb2.ListProductsRequest,
        {"category": "", "q": "", "sort": ""},
    ),
    (order_shapes.NewLine, {}, order_pb2.OrderItem, {"product_id": "", "quantity": ""}),
    (
        order_shapes.PlacingHeaders,
        {},
        order_pb2.CreateOrderRequest,
        {"idempotency-key": "idempotency_key"},
    ),
    (order_shapes.NewStatus, {}, order_pb2.UpdateOrderStatusRequest, {"status": ""}),
    (
        order_shapes.OrderListing,
        {},
        order_pb2.ListUserOrdersRequest,
        {"user_id": "", "status": "", "cursor": ""},
    ),
    (sessions.RefreshRequest, {}, session_pb2.RefreshSessionRequest, {"refresh_token": ""}),
    (providers.SignInCode, {}, oauth_pb2.SignInCodeExchange, {"code": "", "otp": "second_factor"}),
    (
        email.Mail,
        {},
        mailer_pb2.SendEmailRequest,
        {"to_email": "", "subject": "", "html_body": ""},
    ),
]  # fmt: skip
CASES = [
    pytest.param(kind, more, message, name, at or name, id=f"{kind.__name__}.{name}")
    for kind, more, message, fields in RULES
    for name, at in fields.items()
]


@pytest.mark.parametrize(("kind", "more", "message", "name", "at"), CASES)
def test_both_doors_refuse_the_same_values(
    kind: type, more: dict[str, Any], message: type[Message], name: str, at: str
) -> None:
    verdicts = {}
    for value in _corpus(message, at):
        rest, grpc = _rest(kind, {**more, name: value}, name), _grpc(message, at, value)
        if rest != grpc:
            verdicts[repr(value)[:60]] = f"REST refuses: {rest}, gRPC refuses: {grpc}"
    assert verdicts == {}


def test_the_corpus_has_good_and_bad_values_for_every_field() -> None:
    for kind, more, message, fields in RULES:
        for name, at in fields.items():
            values = _corpus(message, at or name)
            found = {_rest(kind, {**more, name: each}, name) for each in values}
            assert found == {True, False}, (kind, name)


@pytest.mark.parametrize(("count", "refused"), [(0, True), (1, False), (100, False), (101, True)])
def test_both_doors_count_the_lines_of_an_order_alike(count: int, refused: bool) -> None:
    line: dict[str, Any] = {"product_id": ID, "quantity": 1}
    assert _rest(order_shapes.NewOrder, {"items": [line] * count}, "items") is refused
    request = order_pb2.CreateOrderRequest(user_id=ID, items=[order_pb2.OrderItem(**line)] * count)
    assert bool(protovalidate.collect_violations(request)) is refused


def _shapes(kind: type[Request] = Request) -> Iterator[type[Request]]:
    for each in kind.__subclasses__():
        yield each
        yield from _shapes(each)


@pytest.mark.parametrize("kind", [*_shapes(), product_shapes.ProductListing], ids=str)
def test_rest_takes_no_nul_in_any_text(kind: type[msgspec.Struct]) -> None:
    for name in set(kind.__struct_encode_fields__) - PASSWORDS:
        bad: list[Violation] = []
        Decoder("EUR").read({name: "a\0b" * 8}, kind, "", bad)
        assert f"/{name}" in {each.field for each in bad}, name


# What services tell one another is theirs to make well.
PASSWORDS = {"password", "current_password"}  # of any characters; only their hash is kept
WORDS = {"scopes", "grants"}  # one of a few, says the use case
INSIDE = {"QueueMails", "RecordEvents", "BatchCreateOrders", "CreateOrder"}


@pytest.mark.parametrize(
    "method", [one for one in ALL if one.descriptor.name not in INSIDE], ids=str
)
def test_grpc_takes_no_nul_in_any_text(method: Method) -> None:
    kind = method.descriptor.input_type
    for field in kind.fields:
        if field.type == field.TYPE_STRING and field.name not in PASSWORDS | WORDS:
            value = ["a\0b" * 8] if field.is_repeated else "a\0b" * 8
            assert _grpc(GetMessageClass(kind), field.name, value), field.name


def _corpus(message: type[Message], at: str) -> list[Any]:
    if at == "idempotency_key":
        return [text for text in TEXTS if text]  # empty, it is none in gRPC; in REST, none is none
    kind = message.DESCRIPTOR.fields_by_name[at]
    if kind.type == kind.TYPE_MESSAGE:
        return [Decimal(number).scaleb(-2) for number in NUMBERS]
    return TEXTS if kind.type == kind.TYPE_STRING else NUMBERS


def _rest(kind: type, body: dict[str, Any], name: str) -> bool:
    bad: list[Violation] = []
    Decoder("EUR").read(body, kind, "", bad)
    return any(each.field.split("/")[1] == name for each in bad)


def _grpc(message: type[Message], at: str, value: Any) -> bool:
    if isinstance(value, Decimal):
        value = money_pb2.Money(minor=int(value * 100), currency="EUR")
    try:
        violations = protovalidate.collect_violations(message(**{at: value}))
    except ValueError:  # outside of what the message's field can hold
        return True
    paths = (v.proto.field for v in violations)
    return any(path is not None and path.elements[0].field_name == at for path in paths)
