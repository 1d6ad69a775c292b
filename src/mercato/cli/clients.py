"""`mercato clients`: other people's programs that may ask users for something, by OAuth 2."""

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from mercato.cli.shop import Shop
from mercato.cli.terminal import DataDir, Json, console, one_line, say_json
from mercato.embedded.state import DEFAULT_DATA_DIR
from mercato.kernel.scopes import SCOPES
from mercato.pb import oauth_pb2 as pb
from mercato.pb.oauth_pb2_grpc import OAuthServiceStub as OAuth
from mercato.platform.rpc import validated

CODE_GRANTS = ("authorization_code", "refresh_token")


def add(
    name: Annotated[str, Parameter(help="What users are shown when it asks them.")],
    /,
    *,
    redirect_uri: Annotated[
        tuple[str, ...],
        Parameter(help="Where a browser may come back to; may be repeated."),
    ] = (),
    public: Annotated[
        bool, Parameter(help="It runs where it can keep no secret: in a browser, on a phone.")
    ] = False,
    scope: Annotated[tuple[str, ...], Parameter(help=f"May be repeated: {', '.join(SCOPES)}.")] = (
        "openid",
        "profile",
        "email",
    ),
    grant: Annotated[
        tuple[str, ...],
        Parameter(help="May be repeated: authorization_code, refresh_token, client_credentials."),
    ] = CODE_GRANTS,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Register a program; its secret is shown this once."""
    wish = validated(
        pb.AddOAuthClientRequest(
            name=name, redirect_uris=redirect_uri, public=public, scopes=scope, grants=grant
        )
    )
    added = asyncio.run(Shop.of(data_dir).call(lambda way: OAuth(way).AddOAuthClient, wish))
    if json:
        say_json({**_shown(added.client), "secret": added.secret})
        return
    console.print(f"client_id      {added.client.id}", markup=False)
    if added.secret:
        console.print(f"client_secret  {added.secret}", markup=False)
        console.print("The secret is not kept and not shown again.", style="dim")


def list_(*, data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """List the programs that are registered."""
    request = pb.ListOAuthClientsRequest()
    found = asyncio.run(Shop.of(data_dir).call(lambda way: OAuth(way).ListOAuthClients, request))
    if json:
        say_json([_shown(client) for client in found.clients])
        return
    for client in found.clients:
        kind = "public" if client.public else "confidential"
        console.print(f"{client.id} {one_line(client.name)} ({kind})", markup=False)
        for what in ("grants", "scopes", "redirect_uris"):
            console.print(f"  {what}: {' '.join(getattr(client, what))}", markup=False)
    if not found.clients:
        console.print("no client is registered")


def remove(
    client_id: Annotated[str, Parameter(help="As `mercato clients list` shows it.")],
    /,
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Remove a program: it gets no token any more; those it has end within 15 minutes."""
    request = validated(pb.OAuthClientID(id=client_id))
    gone = asyncio.run(Shop.of(data_dir).call(lambda way: OAuth(way).RemoveOAuthClient, request))
    if json:
        say_json(_shown(gone))
    else:
        console.print(f"{one_line(gone.name)} ({gone.id}) is removed", markup=False)


def _shown(client: pb.OAuthClient) -> dict[str, Any]:
    return {
        "client_id": client.id, "name": client.name, "public": client.public,
        "redirect_uris": list(client.redirect_uris), "scopes": list(client.scopes),
        "grants": list(client.grants), "created_at": client.created_at,
    }  # fmt: skip
