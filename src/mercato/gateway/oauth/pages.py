"""The pages that a user sees while a client asks for them: no script, nothing from elsewhere."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mercato.gateway.page import rendered
from mercato.gateway.reply import Reply
from mercato.pb import oauth_pb2 as pb


def login(
    client_name: str, redirect_uri: str, fields: Mapping[str, str],
    *, cookie: str, problem: str = "", given: str = "", status: int = 200,
) -> Reply:  # fmt: skip
    """Returns the form to sign in with; `given` is the login that was typed before."""
    shown = {"step": "login", "client_name": client_name, "fields": fields, "login": given}
    return _page("Sign in", shown | {"problem": problem}, status, redirect_uri, cookie)


def consent(
    about: pb.AuthorizationPage, username: str, redirect_uri: str, fields: Mapping[str, str]
) -> Reply:
    """Returns the form to allow a client something with."""
    shown = {
        "step": "consent", "client_name": about.client_name, "scopes": about.scopes,
        "username": username, "fields": fields, "goes_to": _origin(redirect_uri),
    }  # fmt: skip
    return _page("Allow access?", shown, 200, redirect_uri)


def refusal(status: int, problem: str) -> Reply:
    """Returns a page for what must not be told to the client, because it may be an impostor."""
    return _page("This did not work", {"step": "", "problem": problem}, status)


def _page(
    title: str, shown: Mapping[str, Any], status: int, redirect_uri: str = "", cookie: str = ""
) -> Reply:
    # Some browsers hold what answers a form to its policy too, so the client's origin is named.
    form_action = f"'self' {_origin(redirect_uri)}" if redirect_uri else "'none'"
    headers = {"set_cookie": cookie} if cookie else {}
    headers["referrer_policy"] = "same-origin"  # or browsers do not say whose page a form is from
    shown = {"title": title, "problem": "", **shown}
    return rendered("oauth/page.html.j2", shown, status, form_action, **headers)


def _origin(redirect_uri: str) -> str:
    """Returns the origin of a registered address, or the scheme of an app's own."""
    parts = urlsplit(redirect_uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"
