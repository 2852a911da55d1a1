"""The functions of factors over HTTP: fields, statuses, and what a sign-in does with each factor."""

from datetime import UTC, datetime
from uuid import uuid4

import pyotp
import pytest

from shared.identity.store.factors import CODES
from shared.identity.wrong_codes import WrongCodes, wait_after
from shared.passwords.store.users import UserStore
from shared.storage import put
from tests.identity.authenticator import BE, UP, UV, Authenticator, decode
from tests.identity.conftest import Caller
from tests.identity.person import FactorUser

STEP_UP = 'Bearer error="insufficient_user_authentication", acr_values="2", max_age="300"'


@pytest.fixture
def person(caller: Caller) -> FactorUser:
    """A new user with a session, and without a factor."""
    return FactorUser(caller)


# Authenticator apps


def test_authenticator_app(person: FactorUser) -> None:
    """Enroll, confirm, sign in: the fields and statuses of each step."""
    enrolled = person.enroll()
    assert set(enrolled) == {"factor_id", "secret", "uri", "qr_svg"}
    assert len(enrolled["secret"]) == 32
    totp = pyotp.parse_uri(enrolled["uri"])
    assert isinstance(totp, pyotp.TOTP)
    assert (totp.secret, totp.name, totp.issuer) == (enrolled["secret"], person.name, "localhost")
    assert enrolled["qr_svg"].startswith("<svg")
    assert person.caller.sign_in(person.name)["signed_in"] is True

    path = f"me/totp/{enrolled['factor_id']}/confirm"
    refused = person.send("POST", path, {"code": "000000"})
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong-code")
    person.totp = totp
    code = person.code()
    confirmed = person.send("POST", path, {"code": f"{code[:3]} {code[3:]}"})
    assert confirmed.status_code == 200
    assert set(confirmed.json()) == {"factor_id", "recovery_codes"}
    assert len(confirmed.json()["recovery_codes"]) == 10
    gone = person.send("POST", path, {"code": code})
    assert gone.status_code in (401, 404)

    step = person.caller.sign_in(person.name)
    assert step == {"signed_in": False, "ticket": step["ticket"], "factors": ["totp", "recovery-code"]}
    assert person.complete(step["ticket"], code=code) == {"signed_in": False, "reason": "wrong-code"}
    done = person.complete(step["ticket"], code=person.code())
    assert done["amr"] == ["pwd", "otp", "mfa"]
    me = person.caller.send("GET", "me", token=done["access_token"]).json()
    assert (me["acr"], me["amr"]) == ("2", ["pwd", "otp", "mfa"])
    assert person.complete(step["ticket"], code="000000") == {"signed_in": False, "reason": "expired"}


def test_pending_apps(person: FactorUser) -> None:
    """Five apps may be pending; a sixth is 409. Another user's pending app is 404."""
    ids = [person.enroll()["factor_id"] for _ in range(5)]
    sixth = person.send("POST", "me/totp", {})
    assert (sixth.status_code, sixth.json()["code"]) == (409, "too-many-factors")
    other = FactorUser(person.caller)
    assert other.send("POST", f"me/totp/{ids[0]}/confirm", {"code": "000000"}).status_code == 404
    assert person.send("GET", "me/factors").json()["factors"] == []


# Recovery codes


def test_recovery_codes(person: FactorUser) -> None:
    """A recovery code completes a ticket once, in any case and without dashes; new codes void the old."""
    person.add_totp()
    code = person.recovery_codes[0]
    done = person.complete(person.ticket(), recovery_code=code.lower().replace("-", ""))
    assert (done["signed_in"], done["amr"]) == (True, ["pwd", "otp", "mfa"])
    assert person.complete(person.ticket(), recovery_code=code)["reason"] == "wrong-code"
    person.token = done["access_token"]
    assert person.send("GET", "me/factors").json()["recovery_codes_left"] == 9
    renewed = person.send("POST", "me/recovery-codes")
    assert renewed.status_code == 200
    assert len(renewed.json()["recovery_codes"]) == 10
    assert person.complete(person.ticket(), recovery_code=person.recovery_codes[1])["reason"] == "wrong-code"
    assert person.complete(person.ticket(), recovery_code=renewed.json()["recovery_codes"][1])["signed_in"] is True


def test_recovery_codes_without_a_factor(person: FactorUser) -> None:
    """Without a factor there are no recovery codes."""
    refused = person.send("POST", "me/recovery-codes")
    assert (refused.status_code, refused.json()["code"]) == (409, "no-factor")


# Passkeys


def test_passkey_alone(person: FactorUser) -> None:
    """A passkey signs in without a name and with one, as two factors."""
    person.add_passkey()
    assert len(person.recovery_codes) == 10
    for fields in ({}, {"user": person.name}, {"user": person.name.upper()}):
        done = person.use_passkey(**fields)
        assert (done["signed_in"], done["user_id"], done["amr"]) == (True, person.user_id, ["pop", "user", "mfa"])


def test_options(person: FactorUser) -> None:
    """The options require user verification for a first factor, and name the user's credentials only with a name."""
    person.add_passkey()
    anybody = person.caller.post("sign-in/passkey")["options"]
    assert (anybody["userVerification"], anybody["allowCredentials"], anybody["rpId"]) == ("required", [], "localhost")
    named = person.caller.post("sign-in/passkey", user=person.name)["options"]
    assert [decode(each["id"]) for each in named["allowCredentials"]] == [person.key.credential_id]
    second = person.caller.post("sign-in/passkey", ticket=person.ticket())["options"]
    assert second["userVerification"] == "preferred"
    assert second["allowCredentials"] == named["allowCredentials"]
    assert len(decode(second["challenge"])) >= 16
    assert len({anybody["challenge"], named["challenge"], second["challenge"]}) == 3


def test_passkey_after_a_password(person: FactorUser) -> None:
    """The ticket of a password becomes one for a passkey; the old one still takes a code, and one success spends
    both."""
    person.add_passkey()
    first, second = person.ticket(), person.ticket()
    begun = [person.caller.post("sign-in/passkey", ticket=each) for each in (first, second)]
    done = person.complete(begun[0]["ticket"], passkey=person.key.sign(begun[0]["options"]))
    assert done["amr"] == ["pwd", "pop", "user", "mfa"]
    assert person.complete(first, recovery_code=person.recovery_codes[0])["reason"] == "expired"
    assert person.complete(second, recovery_code=person.recovery_codes[0])["signed_in"] is True
    late = person.complete(begun[1]["ticket"], passkey=person.key.sign(begun[1]["options"]))
    assert late == {"signed_in": False, "reason": "expired"}
    spent = person.caller.send("POST", "sign-in/passkey", {"ticket": first})
    assert (spent.status_code, spent.json()["code"]) == (422, "ticket-expired")


def test_a_challenge_is_used_once(person: FactorUser) -> None:
    """The same assertion signs in once."""
    person.add_passkey()
    begun = person.caller.post("sign-in/passkey")
    credential = person.key.sign(begun["options"])
    assert person.complete(begun["ticket"], passkey=credential)["signed_in"] is True
    assert person.complete(begun["ticket"], passkey=credential)["reason"] == "expired"
    other = person.caller.post("sign-in/passkey")
    assert person.complete(other["ticket"], passkey=credential)["reason"] == "wrong-passkey"


def test_user_verification(person: FactorUser) -> None:
    """A passkey that does not verify the user is a second factor, and not the only one."""
    person.key.flags = UP
    person.add_passkey()
    assert person.use_passkey()["reason"] == "wrong-passkey"
    assert person.use_passkey(user=person.name)["reason"] == "wrong-passkey"
    assert person.use_passkey(ticket=person.ticket())["amr"] == ["pwd", "pop", "mfa"]


def test_the_counter_of_a_synced_passkey(person: FactorUser) -> None:
    """A synced passkey whose counter does not rise signs in, and the log line says so."""
    person.key.flags, person.key.count = UP | UV | BE, 5
    person.add_passkey()
    person.key.count = 1
    assert person.use_passkey()["signed_in"] is True
    line = '"function":"sign-in","method":"POST","status":200,"outcome":"counter-fell"'
    assert line in person.caller.app.log.read_text()


def test_tickets_have_one_kind(person: FactorUser) -> None:
    """A ticket is completed only by what it is for: each other combination signs nobody in."""
    begun = person.send("POST", "me/passkeys/begin").json()
    person.add_totp()
    person.step_up()
    person.add_passkey()
    registration = begun["ticket"]
    passkey = person.caller.post("sign-in/passkey")
    password = person.ticket()
    signed = person.key.sign(passkey["options"])
    assert person.complete(registration, passkey=person.key.sign(begun["options"]))["signed_in"] is False
    assert person.complete(registration, code="000000")["signed_in"] is False
    for field, code in (("code", person.code()), ("recovery_code", person.recovery_codes[0])):
        assert person.complete(passkey["ticket"], **{field: code})["reason"] == "wrong-code"
        assert person.complete(registration, **{field: code})["signed_in"] is False
    assert person.complete(password, passkey=signed)["reason"] == "wrong-passkey"
    for ticket in (registration, passkey["ticket"], "unknown"):
        refused = person.caller.send("POST", "sign-in/passkey", {"ticket": ticket})
        assert (refused.status_code, refused.json()["code"]) == (422, "ticket-expired")
    fields = {"ticket": password, "credential": person.key.register(begun["options"])}
    refused = person.send("POST", "me/passkeys", fields)
    assert (refused.status_code, refused.json()["code"]) == (422, "passkey-refused")
    assert person.complete(passkey["ticket"], passkey=signed)["signed_in"] is True


def test_registrations_are_refused(person: FactorUser) -> None:
    """A registration of another origin, challenge or user, or with a spent ticket, is 422 and adds nothing."""
    other = FactorUser(person.caller)
    begun = person.send("POST", "me/passkeys/begin").json()
    good = person.key.register(begun["options"])
    evil = Authenticator("https://evil.example", "localhost").register(begun["options"])
    theirs = other.send("POST", "me/passkeys/begin").json()
    for fields in (
        {"ticket": begun["ticket"], "credential": evil},
        {"ticket": begun["ticket"], "credential": person.key.register(theirs["options"])},
        {"ticket": theirs["ticket"], "credential": person.key.register(theirs["options"])},
    ):
        refused = person.send("POST", "me/passkeys", fields)
        assert (refused.status_code, refused.json()["code"]) == (422, "passkey-refused")
    assert person.send("GET", "me/factors").json()["factors"] == []
    fields = {"ticket": begun["ticket"], "credential": good, "label": "Key"}
    added = person.send("POST", "me/passkeys", fields)
    assert added.status_code == 201
    assert set(added.json()) == {"factor_id", "recovery_codes"}
    person.key.user_handle = decode(begun["options"]["user"]["id"])
    person.token = person.use_passkey()["access_token"]
    again = person.send("POST", "me/passkeys", fields)
    assert (again.status_code, again.json()["code"]) == (422, "passkey-refused")


@pytest.mark.parametrize("passkey", [{}, "text", [], {"id": "AA"}, {"id": 1, "rawId": 1, "type": 1, "response": {}}])
def test_malformed_passkeys(person: FactorUser, passkey: object) -> None:
    """A passkey without the members of AuthenticationResponseJSON is 400."""
    ticket = person.caller.post("sign-in/passkey")["ticket"]
    assert person.caller.send("POST", "sign-in", {"ticket": ticket, "passkey": passkey}).status_code == 400


# Names


def test_unknown_names_get_decoys(person: FactorUser) -> None:
    """Unknown names, and users without a passkey, get a credential that stays the same and signs nobody in."""
    for name in (f"nobody-{uuid4().hex}", person.name):
        begun = [person.caller.post("sign-in/passkey", user=each) for each in (name, name, name.upper())]
        descriptors = [each["options"]["allowCredentials"] for each in begun]
        assert descriptors[0] == descriptors[1] == descriptors[2]
        assert [set(each) for each in descriptors[0]] == [{"type", "id", "transports"}]
        key = Authenticator(person.key.origin, "localhost", credential_id=decode(descriptors[0][0]["id"]))
        done = person.complete(begun[0]["ticket"], passkey=key.sign(begun[0]["options"]))
        assert done == {"signed_in": False, "reason": "wrong-passkey"}


def test_known_and_unknown_names_look_alike(person: FactorUser) -> None:
    """The responses for a user with a passkey and for an unknown name have the same members and the same lengths."""
    person.add_passkey()
    known = person.caller.post("sign-in/passkey", user=person.name)
    unknown = person.caller.post("sign-in/passkey", user=f"nobody-{uuid4().hex}")
    assert set(known) == set(unknown)
    assert len(known["ticket"]) == len(unknown["ticket"])
    assert set(known["options"]) == set(unknown["options"])
    assert set(known["options"]["allowCredentials"][0]) == set(unknown["options"]["allowCredentials"][0])


def test_either_a_ticket_or_a_user(person: FactorUser) -> None:
    """`ticket` and `user` together are 400, and so are other fields."""
    person.add_passkey()
    both = {"ticket": person.ticket(), "user": person.name}
    assert person.caller.send("POST", "sign-in/passkey", both).status_code == 400
    assert person.caller.send("POST", "sign-in/passkey", {"name": person.name}).status_code == 400


def test_a_ticket_of_a_user_without_a_passkey(person: FactorUser) -> None:
    """After the password, a user without a passkey gets 422 and not a decoy."""
    person.add_totp()
    refused = person.caller.send("POST", "sign-in/passkey", {"ticket": person.ticket()})
    assert (refused.status_code, refused.json()["code"]) == (422, "no-passkey")


# Wrong codes


def test_wrong_codes_wait(person: FactorUser) -> None:
    """After five wrong codes, and wrong recovery codes, the next is 429 with Retry-After."""
    person.add_totp()
    ticket = person.ticket()
    for number in range(5):
        wrong = {"recovery_code": "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF"} if number == 2 else {"code": "000000"}
        assert person.complete(ticket, **wrong) == {"signed_in": False, "reason": "wrong-code"}
    for _ in range(5):  # On a slow machine a wait may end; each wait is twice as long as the previous one.
        waiting = person.caller.send("POST", "sign-in", {"ticket": ticket, "code": "000000"})
        if waiting.status_code == 429:
            break
    assert (waiting.status_code, waiting.json()["code"]) == (429, "too-many-codes")
    assert int(waiting.headers["retry-after"]) >= 1


def test_right_codes_wait_too(person: FactorUser, users: UserStore) -> None:
    """During a wait the right code is 429, a passkey still signs in, and that ends the wait."""
    person.add_totp()
    person.step_up()
    person.add_passkey()
    ticket, now = person.ticket(), datetime.now(UTC)
    count = WrongCodes(20, now + wait_after(20))
    users.table.write(put(users.records.row(person.user_id, CODES, count, kind="codes")))
    code = person.code()
    for field in ({"code": code}, {"recovery_code": person.recovery_codes[0]}):
        waiting = person.caller.send("POST", "sign-in", {"ticket": ticket, **field})
        assert (waiting.status_code, waiting.json()["code"]) == (429, "too-many-codes")
        assert 0 < int(waiting.headers["retry-after"]) <= 900
    assert person.use_passkey()["signed_in"] is True
    assert person.complete(ticket, code=code)["signed_in"] is True


# Sessions


def test_changes_need_a_fresh_sign_in(person: FactorUser) -> None:
    """With a factor, a session of the password alone gets the challenge of RFC 9470; a renewal continues it."""
    factor_id = person.add_totp()
    calls = [
        ("POST", "me/totp", {}),
        ("POST", f"me/totp/{factor_id}/confirm", {"code": "000000"}),
        ("POST", "me/passkeys/begin", {}),
        (
            "POST",
            "me/passkeys",
            {
                "ticket": "x",
                "credential": {
                    "id": "",
                    "rawId": "",
                    "type": "",
                    "response": {"clientDataJSON": "", "attestationObject": ""},
                },
            },
        ),
        ("POST", "me/recovery-codes", {}),
        ("DELETE", f"me/factors/{factor_id}?last=true", None),
    ]
    for method, path, fields in calls:
        refused = person.send(method, path, fields)
        assert refused.status_code == 401, (path, refused.text)
        assert refused.headers["www-authenticate"] == STEP_UP
    before = person.caller.send("GET", "me", token=person.token).json()
    person.step_up()
    after = person.caller.send("GET", "me", token=person.token).json()
    assert (after["session_id"], after["acr"]) == (before["session_id"], "2")
    assert person.send("POST", "me/recovery-codes").status_code == 200


def test_changes_end_other_sessions(person: FactorUser) -> None:
    """Adding a factor ends the user's other sessions at once, and not the one that adds it."""
    other = person.caller.sign_in(person.name)
    person.add_passkey()
    assert person.caller.send("GET", "me", token=other["access_token"]).status_code == 401
    assert person.caller.post("sessions/refresh", refresh_token=other["refresh_token"])["signed_in"] is False
    assert person.send("GET", "me").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "me/totp"),
        ("POST", "me/totp/x/confirm"),
        ("POST", "me/passkeys/begin"),
        ("POST", "me/passkeys"),
        ("GET", "me/factors"),
        ("PATCH", "me/factors/x"),
        ("DELETE", "me/factors/x"),
        ("POST", "me/recovery-codes"),
    ],
)
def test_a_session_is_required(caller: Caller, method: str, path: str) -> None:
    """A function key without an access token is 401 with `WWW-Authenticate: Bearer`."""
    response = caller.send(method, path, {})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["me/totp", "me/passkeys/begin", "me/recovery-codes"])
def test_no_idempotency_key(person: FactorUser, path: str) -> None:
    """Responses with secrets are not kept: an Idempotency-Key is 400."""
    assert person.send("POST", path, {}, **{"idempotency-key": "once"}).status_code == 400


# Managing


def test_list_rename_delete(person: FactorUser) -> None:
    """A user lists, renames and deletes factors; the last one needs `last`."""
    totp = person.add_totp()
    person.step_up()
    key = person.add_passkey()
    listed = person.send("GET", "me/factors").json()
    assert set(listed) == {"factors", "recovery_codes_left", "passkeys"}
    assert [(each["factor_id"], each["kind"], each["label"]) for each in listed["factors"]] == [
        (totp, "totp", "Phone"),
        (key, "passkey", "Passkey"),
    ]
    assert set(listed["factors"][0]) == {"factor_id", "kind", "label", "created", "last_used"}
    assert listed["passkeys"]["rp_id"] == "localhost"
    assert [decode(each) for each in listed["passkeys"]["credential_ids"]] == [person.key.credential_id]
    renamed = person.send("PATCH", f"me/factors/{key}", {"label": "Blue key"})
    assert (renamed.status_code, renamed.json()["label"]) == (200, "Blue key")
    assert person.send("PATCH", "me/factors/unknown", {"label": "x"}).status_code == 404
    assert person.send("DELETE", "me/factors/unknown").status_code == 404
    assert person.send("PATCH", f"me/factors/{key}", {"label": ""}).status_code == 400

    assert person.send("DELETE", f"me/factors/{totp}").status_code == 204
    last = person.send("DELETE", f"me/factors/{key}")
    assert (last.status_code, last.json()["code"]) == (409, "last-factor")
    assert person.send("DELETE", f"me/factors/{key}?last=true").status_code == 204
    assert person.send("GET", "me/factors").json()["recovery_codes_left"] == 0
    assert person.caller.sign_in(person.name)["signed_in"] is True
    assert person.use_passkey()["reason"] == "wrong-passkey"


def test_a_short_password_keeps_its_factor(caller: Caller) -> None:
    """A user whose password is too short on its own cannot delete the last factor."""
    person = FactorUser(caller)
    name = f"user-{uuid4().hex[:12]}"
    short = "x7Kqv2#mWp"
    assert (
        caller.send("POST", "hash-password", {"user": name, "password": short, "second_factor": True}).status_code
        == 201
    )
    person.name, person.token = name, caller.sign_in(name, short)["access_token"]
    factor_id = person.add_totp()
    ticket = caller.sign_in(name, short)["ticket"]
    person.token = person.complete(ticket, recovery_code=person.recovery_codes[0])["access_token"]
    assert person.send("DELETE", f"me/factors/{factor_id}").json()["code"] == "last-factor"
    refused = person.send("DELETE", f"me/factors/{factor_id}?last=true")
    assert (refused.status_code, refused.json()["code"]) == (422, "weak-password")


def test_operators(person: FactorUser) -> None:
    """An operator lists a user's factors, and resets them: the password alone signs in again."""
    person.add_totp()
    path = f"users/{person.user_id}/factors"
    listed = person.caller.send("GET", path).json()
    assert [each["kind"] for each in listed["factors"]] == ["totp"]
    assert "secret" not in str(listed)
    ticket = person.ticket()
    assert person.caller.send("DELETE", path).status_code == 204
    assert person.complete(ticket, recovery_code=person.recovery_codes[0])["reason"] == "expired"
    assert person.caller.send("GET", "me", token=person.token).status_code == 401
    assert person.caller.sign_in(person.name)["signed_in"] is True
    assert person.caller.send("GET", path).json()["factors"] == []
    for method in ("GET", "DELETE"):
        assert person.caller.send(method, f"users/{uuid4()}/factors").status_code == 404


def test_disabled_users(person: FactorUser) -> None:
    """Only a right factor shows that the user is disabled."""
    person.add_passkey()
    password, begun = person.ticket(), person.caller.post("sign-in/passkey")
    assert person.caller.send("PATCH", f"users/{person.user_id}", {"disabled": True}).status_code == 200
    assert person.complete(password, recovery_code="AAAA")["reason"] == "wrong-code"
    assert person.complete(password, recovery_code=person.recovery_codes[0])["reason"] == "disabled"
    evil = person.key.sign(begun["options"], origin="https://evil.example")
    assert person.complete(begun["ticket"], passkey=evil)["reason"] == "wrong-passkey"
    assert person.complete(begun["ticket"], passkey=person.key.sign(begun["options"]))["reason"] == "disabled"


def test_deleted_users(person: FactorUser) -> None:
    """The passkey of a deleted user signs nobody in, and another user may register it."""
    person.add_passkey()
    assert person.caller.send("DELETE", f"users/{person.user_id}").status_code == 204
    assert person.use_passkey()["reason"] == "wrong-passkey"
    FactorUser(person.caller).add_passkey(person.key)


def test_the_log_has_no_secret(person: FactorUser) -> None:
    """One log line for each change names the outcome, and no code, seed or credential is in the log."""
    secret = person.enroll()["secret"]
    person.add_totp()
    log = person.caller.app.log.read_text()
    assert '"function":"confirm-totp","method":"POST","status":200,"outcome":"factor-added"' in log
    for each in (secret, person.totp.secret, *person.recovery_codes):
        assert each not in log
