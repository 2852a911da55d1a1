"""A web app whose users sign in with Strongroom: Flask, Flask-Login, a password, a code, and single sign-on.

    pip install Flask Flask-Login requests
    STRONGROOM=https://your-app.azurewebsites.net/api STRONGROOM_KEY=<function key> SECRET_KEY=<random> \\
        flask --app flask_app run

The server calls sign-in with a function key, so the settings that make it public stay off. The tokens are in Flask's
cookie, which scripts cannot read. For single sign-on, STRONGROOM_ORIGINS contains the origin of this app.
"""

import base64
import hashlib
import os
import secrets
import time

import requests
from flask import Flask, abort, redirect, render_template_string, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user

API = os.environ["STRONGROOM"]
KEY = {"x-functions-key": os.environ["STRONGROOM_KEY"]}

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
app.config.update(SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Lax")
app.config["SESSION_COOKIE_SECURE"] = API.startswith("https://")
login_manager = LoginManager(app)
login_manager.login_view = "login"

PAGE = """<!doctype html><title>{{ title }}</title><h1>{{ title }}</h1>
{% if error %}<p role=alert>{{ error }}</p>{% endif %}
<form method=post><input type=hidden name=form_token value="{{ session.form_token }}">{{ fields|safe }}
<button>Continue</button></form>"""
PASSWORD = "<input name=user autocomplete=username> <input name=password type=password autocomplete=current-password>"
CODE = "<input name=code inputmode=numeric autocomplete=one-time-code autofocus>"
MESSAGES = {
    "wrong-credentials": "The name or the password is wrong.",
    "wrong-code": "The code is wrong, or was used before.",
    "expired": "That took too long. Sign in again.",
    "disabled": "An operator has disabled this account.",
}


class User(UserMixin):
    """A signed-in user. `get_id` is what Flask-Login keeps in its cookie."""

    def __init__(self, user_id, name):
        self.id, self.name = user_id, name


def call(method, path, *, token=None, **fields):
    """One call of Strongroom. Raises requests.HTTPError for anything but a success; 429 says how long to wait."""
    headers = KEY | ({"Authorization": f"Bearer {token}"} if token else {})
    response = requests.request(
        method, f"{API}/{path}", json=fields if method == "POST" else None, headers=headers, timeout=10
    )
    response.raise_for_status()
    return response.json() if response.content else None


def keep(tokens):
    """Keep the tokens of a session."""
    session.update(
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        expires=time.time() + tokens["expires_in"] - 30,
    )


@login_manager.user_loader
def load_user(user_id):
    """The user of a request; None once the session has ended. At most one call in ten minutes."""
    if "access_token" not in session:
        return None
    if time.time() > session["expires"]:
        tokens = call("POST", "sessions/refresh", refresh_token=session["refresh_token"])
        if not tokens["signed_in"]:
            return None
        keep(tokens)
    return User(user_id, session["name"])


def next_step(result):
    """Where a response of sign-in leads: into the app, or to the form for the next factor."""
    if result["signed_in"]:
        me = call("GET", "me", token=result["access_token"])
        session.clear()  # A new session: nobody may have prepared the old one.
        keep(result)
        session.update(name=me["user"], form_token=secrets.token_urlsafe())
        login_user(User(me["user_id"], me["user"]))
        return redirect(url_for("home"))
    if "ticket" in result:
        session["ticket"] = result["ticket"]
        return redirect(url_for("code"))
    return form("Sign in", PASSWORD, MESSAGES.get(result["reason"], "Sign in again."))


def form(title, fields, error=""):
    """A page with a form, whose token shows that the post comes from it (against forged requests)."""
    session.setdefault("form_token", secrets.token_urlsafe())
    return render_template_string(PAGE, title=title, fields=fields, error=error)


def check_form():
    """End a post that does not come from our form."""
    if not secrets.compare_digest(request.form.get("form_token", ""), session.get("form_token", "-")):
        abort(400, "Load the page again.")


@app.errorhandler(requests.HTTPError)
def failed(error):
    """A name that has to wait, or a problem with Strongroom."""
    if error.response.status_code == 429:
        return form("Sign in", PASSWORD, f"Try again in {error.response.headers['Retry-After']} s."), 429
    app.logger.error("Strongroom: %s %s", error, error.response.text)  # A problem (RFC 9457), which holds no secret.
    return "Sign-in is not available now. Try again later.", 503


@app.route("/login", methods=["GET", "POST"])
def login():
    """The first step: the password."""
    if request.method == "GET":
        return form("Sign in", PASSWORD)
    check_form()
    user_agent = request.headers.get("User-Agent", "")[:256]
    fields = {"user": request.form["user"], "password": request.form["password"]}
    return next_step(call("POST", "sign-in", **fields, user_agent=user_agent, address=request.remote_addr))


@app.route("/login/code", methods=["GET", "POST"])
def code():
    """The second step: a code of an authenticator app, or a recovery code."""
    if "ticket" not in session:
        return redirect(url_for("login"))
    if request.method == "GET":
        return form("Second factor", CODE)
    check_form()
    entered = request.form["code"].strip()
    kind = "code" if entered.replace(" ", "").isdigit() else "recovery_code"
    result = call("POST", "sign-in", ticket=session["ticket"], **{kind: entered})
    if result.get("reason") == "wrong-code":
        return form("Second factor", CODE, MESSAGES["wrong-code"])
    return next_step(result)


@app.get("/login/with/<provider>")
def single_sign_on(provider):
    """Single sign-on: Strongroom talks to the provider, and comes back with a ticket for this browser alone."""
    verifier = session["verifier"] = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    query = {"return_to": url_for("back", _external=True), "code_challenge": challenge}
    return redirect(requests.Request("GET", f"{API}/sso/{provider}", params=query).prepare().url)


@app.get("/login/back")
def back():
    """The way back from single sign-on."""
    if "error" in request.args or "verifier" not in session:
        return form("Sign in", PASSWORD, "Single sign-on did not succeed.")
    return next_step(call("POST", "sign-in", ticket=request.args["ticket"], code_verifier=session.pop("verifier")))


@app.get("/")
@login_required
def home():
    """A page for signed-in users."""
    return render_template_string(
        '<h1>Hello {{ name }}</h1><form method=post action="{{ url_for("logout") }}">'
        '<input type=hidden name=form_token value="{{ session.form_token }}"><button>Sign out</button></form>',
        name=current_user.name,
    )


@app.post("/logout")
@login_required
def logout():
    """End the session here and at Strongroom."""
    check_form()
    try:
        call("POST", "sign-out", token=session["access_token"])
    except requests.HTTPError as error:
        if error.response.status_code not in (401, 404):  # 401, 404: the session has ended already.
            raise
    logout_user()
    session.clear()
    return redirect(url_for("login"))
