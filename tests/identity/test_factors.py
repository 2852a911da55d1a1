"""Factors over real Table Storage: codes, recovery codes and passkeys work once, and changes end other sessions."""

import base64
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pyotp
import pytest

from shared.deadline import call_limit
from shared.errors import StrongroomError, WeakPassword
from shared.identity.errors import (
    InvalidToken,
    LastFactor,
    NoFactor,
    NotFresh,
    PasskeyRefused,
    TooManyCodes,
    TooManyFactors,
    UnknownFactor,
    WrongCode,
)
from shared.identity.passkeys import (
    AssertionCredential,
    Passkey,
    RegistrationCredential,
    RelyingParty,
    check_registration,
    creation_options,
    request_options,
)
from shared.identity.routes.factors import BeginPasskeySignInRequest, begin_passkey_sign_in
from shared.identity.sessions import ActiveSession
from shared.identity.store.factors import Proven
from shared.identity.tickets import Ticket
from shared.settings import StorageSettings
from shared.signing.master import master_key
from shared.signing.store import KeyStore
from shared.storage import Storage, account_of
from tests.identity.authenticator import BE, UP, UV, Authenticator
from tests.identity.instances import ORIGIN, RP_ID, Clock, Instance
from tests.storage.proxy import LOSE_REQUEST, LOSE_RESPONSE, run_proxy

CHALLENGE = bytes(range(32))
Result = TypeVar("Result")


Instances = Callable[..., Instance]


@pytest.fixture
def clock() -> Clock:
    """A clock that changes only when the test moves it."""
    return Clock()


@pytest.fixture
def new_instance(storage_connection: str, clock: Clock, tmp_path: Path) -> Iterator[Instances]:
    """Makes instances of the app over the same tables."""
    tables, path = uuid4().hex[:20], tmp_path / "master.key"
    path.write_text("A" * 43)

    def make(connection: str = storage_connection, **settings: object) -> Instance:
        storage = Storage(StorageSettings(connection))
        keys = KeyStore(storage, master_key(str(path)), 0.0, f"keys{tables}")
        return Instance(storage, keys, tables, clock, **settings)  # type: ignore[arg-type]

    yield make
    storage = Storage(StorageSettings(storage_connection))
    for name in ("keys", "users", "tickets"):
        storage.table(f"{name}{tables}").delete_table()


@pytest.fixture
def app(new_instance: Instances) -> Instance:
    """One instance of the app."""
    return new_instance()


@pytest.fixture
def passkey() -> Authenticator:
    """An authenticator of the test's origin."""
    return Authenticator(ORIGIN, RP_ID)


def at_once(*calls: Callable[[], Result]) -> list[Result | Exception]:
    """The results of calls that start together, in their order."""
    gate, results = Barrier(len(calls)), dict[int, Any]()

    def run(number: int, call: Callable[[], Result]) -> None:
        gate.wait(60)
        try:
            results[number] = call()
        except StrongroomError as error:
            results[number] = error

    threads = [Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(calls))]


def user_of(proven: Proven) -> str:
    """Whose factor it was."""
    assert proven.partition is not None
    return proven.partition.user.user_id


def check_code(app: Instance, ticket: Ticket, code: str) -> Proven:
    """As sign-in does it."""
    return app.factors.check_code(app.partition(ticket.user_id), ticket, code)


def check_recovery_code(app: Instance, ticket: Ticket, code: str) -> Proven:
    """As sign-in does it."""
    return app.factors.check_recovery_code(app.partition(ticket.user_id), ticket, code)


def registered(app: Instance, user_id: str, key: Authenticator) -> Passkey:
    """A checked registration, which is not stored."""
    options = creation_options(app.factors.rp, CHALLENGE, user_id, "alice", [])
    response = msgspec.convert(key.register(options), RegistrationCredential)
    return check_registration(app.factors.rp, CHALLENGE, response)


def add_passkey(app: Instance, user_id: str, key: Authenticator) -> list[str]:
    """Register a passkey; returns the recovery codes."""
    return app.factors.add_passkey(app.session(user_id), registered(app, user_id, key), "Laptop").recovery_codes


def passkey_ticket(app: Instance, **members: Any) -> Ticket:
    """A ticket of begin-passkey-sign-in."""
    ticket = app.tickets.open(app.tickets.issue("passkey", challenge=CHALLENGE, **members))
    assert ticket is not None
    return ticket


def signed(key: Authenticator, **members: Any) -> AssertionCredential:
    """An assertion over the challenge."""
    options = request_options(RelyingParty(RP_ID, (ORIGIN,)), CHALLENGE, [], require_user_verification=True)
    return msgspec.convert(key.sign(options, **members), AssertionCredential)


# Authenticator apps


def test_enroll_and_confirm(app: Instance) -> None:
    """Only a confirmed app is a factor, and the first one comes with ten recovery codes."""
    user_id = app.new_user()
    session = app.session(user_id)
    factor_id, seed = app.factors.enroll_totp(session, "Phone")
    assert app.factors.kinds(app.partition(user_id)) == ()
    assert not app.partition(user_id).user.has_factor
    with pytest.raises(WrongCode):
        app.factors.confirm_totp(session, factor_id, "000000")
    code = pyotp.TOTP(base64.b32encode(seed).decode()).at(app.clock.now)
    enrolled = app.factors.confirm_totp(session, factor_id, f"{code[:3]} {code[3:]}")
    assert len(enrolled.recovery_codes) == 10
    partition = app.partition(user_id)
    assert partition.user.has_factor
    assert app.factors.kinds(partition) == ("totp", "recovery-code")
    assert [(each.kind, each.document.label) for each in app.factors.of(partition)] == [("totp", "Phone")]


def test_the_confirming_code_is_spent(app: Instance, clock: Clock) -> None:
    """The code that confirmed an app does not sign in; the next one does, once."""
    user_id = app.new_user()
    totp, _ = app.add_totp(user_id)
    code = totp.at(clock.now)
    assert check_code(app, app.ticket(user_id), code).outcome == "wrong-code"
    clock.forward(30)
    code = totp.at(clock.now)
    proven = check_code(app, app.ticket(user_id), code)
    assert (proven.outcome, proven.amr, user_of(proven)) == ("", ("otp",), user_id)
    assert check_code(app, app.ticket(user_id), code).outcome == "wrong-code"


def test_a_second_app_comes_without_codes(app: Instance, clock: Clock) -> None:
    """A user has several apps; each works by itself, and only the first came with recovery codes."""
    user_id = app.new_user()
    first, codes = app.add_totp(user_id)
    second, none = app.add_totp(user_id, "Tablet")
    assert (len(codes), none) == (10, [])
    clock.forward(30)
    assert check_code(app, app.ticket(user_id), first.at(clock.now)).outcome == ""
    assert check_code(app, app.ticket(user_id), second.at(clock.now)).outcome == ""


def test_strict_clock(new_instance: Instances, clock: Clock) -> None:
    """With a skew of 0, only the code of the current step is right."""
    app = new_instance(skew=0)
    user_id = app.new_user()
    totp, _ = app.add_totp(user_id)
    clock.forward(60)
    assert check_code(app, app.ticket(user_id), totp.at(clock.now - timedelta(seconds=30))).outcome == "wrong-code"
    assert check_code(app, app.ticket(user_id), totp.at(clock.now + timedelta(seconds=30))).outcome == "wrong-code"
    assert check_code(app, app.ticket(user_id), totp.at(clock.now)).outcome == ""


def test_pending_apps_expire(app: Instance, clock: Clock) -> None:
    """At most five apps are pending, for ten minutes each."""
    user_id = app.new_user()
    session = app.session(user_id)
    ids = [app.factors.enroll_totp(session, "Phone")[0] for _ in range(5)]
    with pytest.raises(TooManyFactors):
        app.factors.enroll_totp(session, "Phone")
    clock.forward(600)
    session = app.session(user_id)
    with pytest.raises(UnknownFactor):
        app.factors.confirm_totp(session, ids[0], "000000")
    app.factors.enroll_totp(session, "Phone")
    clock.forward(700)
    assert app.factors.purge(clock.now) == 1
    assert "pending" not in app.partition(user_id).rows


def test_five_pending_of_many_at_once(new_instance: Instances) -> None:
    """Of eight enrolments at once by two instances, five become pending."""
    apps = [new_instance(), new_instance()]
    session = apps[0].session(apps[0].new_user())
    results = at_once(*[lambda app=app: app.factors.enroll_totp(session, "Phone") for app in apps * 4])
    assert sum(isinstance(each, TooManyFactors) for each in results) == 3


def test_a_code_of_another_user(app: Instance, clock: Clock) -> None:
    """The code, the recovery code and the pending app of another user complete nothing."""
    user_id, other = app.new_user(), app.new_user()
    app.add_totp(user_id)
    totp, codes = app.add_totp(other)
    clock.forward(30)
    assert check_code(app, app.ticket(user_id), totp.at(clock.now)).outcome == "wrong-code"
    assert check_recovery_code(app, app.ticket(user_id), codes[0]).outcome == "wrong-code"
    factor_id, _ = app.factors.enroll_totp(app.session(other), "Phone")
    with pytest.raises(UnknownFactor):
        app.factors.confirm_totp(app.session(user_id), factor_id, "000000")


def test_one_winner_of_a_code(new_instance: Instances, clock: Clock) -> None:
    """Of ten calls at once by two instances with the same code, one gets through."""
    apps = [new_instance(), new_instance()]
    user_id = apps[0].new_user()
    totp, _ = apps[0].add_totp(user_id)
    clock.forward(30)
    code = totp.at(clock.now)
    calls = [lambda app=app: check_code(app, app.ticket(user_id), code) for app in apps * 5]
    results = at_once(*calls)
    assert sum(isinstance(each, Proven) and each.outcome == "" for each in results) == 1


def test_two_devices_in_the_same_second(new_instance: Instances, clock: Clock) -> None:
    """Codes of two devices at once by two instances are both right."""
    apps = [new_instance(), new_instance()]
    user_id = apps[0].new_user()
    first, _ = apps[0].add_totp(user_id)
    second, _ = apps[0].add_totp(user_id)
    clock.forward(30)
    results = at_once(
        *[
            lambda app=app, totp=totp: check_code(app, app.ticket(user_id), totp.at(clock.now))
            for app, totp in zip(apps, (first, second), strict=True)
        ]
    )
    assert [each.outcome for each in results if isinstance(each, Proven)] == ["", ""]


# Wrong codes


def test_wrong_codes_wait(app: Instance, clock: Clock) -> None:
    """Five wrong codes are free; then even the right one waits, and a success clears the count."""
    user_id = app.new_user()
    totp, codes = app.add_totp(user_id)
    clock.forward(30)
    for number in range(5):
        wrong = check_code if number % 2 else check_recovery_code
        assert wrong(app, app.ticket(user_id), "wrong").outcome == "wrong-code"
    for call in (check_code, check_recovery_code):
        with pytest.raises(TooManyCodes) as raised:
            call(app, app.ticket(user_id), totp.at(clock.now) if call is check_code else codes[0])
        assert raised.value.retry_after == 1
    clock.forward(1)
    assert check_code(app, app.ticket(user_id), "000000").outcome == "wrong-code"
    with pytest.raises(TooManyCodes) as raised:
        check_code(app, app.ticket(user_id), totp.at(clock.now))
    assert raised.value.retry_after == 2
    clock.forward(2)
    assert check_code(app, app.ticket(user_id), totp.at(clock.now)).outcome == ""
    for _ in range(5):
        assert check_code(app, app.ticket(user_id), "000000").outcome == "wrong-code"


def test_guesses_at_once_count_one_by_one(new_instance: Instances, clock: Clock) -> None:
    """Of twelve wrong codes at once by two instances, five are compared."""
    apps = [new_instance(), new_instance()]
    user_id = apps[0].new_user()
    apps[0].add_totp(user_id)
    tickets = [apps[0].ticket(user_id) for _ in range(12)]
    results = at_once(
        *[
            lambda app=app, ticket=ticket: check_code(app, ticket, "000000")
            for app, ticket in zip(apps * 6, tickets, strict=True)
        ]
    )
    assert sum(isinstance(each, Proven) for each in results) == 5
    assert sum(isinstance(each, TooManyCodes) for each in results) == 7


def test_ten_wrong_codes_end_a_ticket(app: Instance, clock: Clock) -> None:
    """After ten wrong codes a ticket takes no right one, and a new ticket does."""
    user_id = app.new_user()
    totp, codes = app.add_totp(user_id)
    ticket = app.ticket(user_id)
    for number in range(10):
        assert check_code(app, ticket, "000000").outcome == "wrong-code"
        clock.forward(0 if number < 4 else 2 ** (number - 4))
    assert check_code(app, ticket, totp.at(clock.now)).outcome == "expired"
    assert check_recovery_code(app, ticket, codes[0]).outcome == "expired"
    assert check_code(app, app.ticket(user_id), totp.at(clock.now)).outcome == ""


def test_wrong_passkeys_do_not_count(app: Instance, clock: Clock, passkey: Authenticator) -> None:
    """Any number of wrong passkeys leaves the codes free, and a right passkey does not wait."""
    user_id = app.new_user()
    app.add_totp(user_id)
    add_passkey(app, user_id, passkey)
    ticket = passkey_ticket(app, user_id=user_id, amr=("pwd",))
    for _ in range(8):
        assert (
            app.factors.check_passkey(ticket, signed(passkey, origin="https://evil.example")).outcome == "wrong-passkey"
        )
    for _ in range(5):
        assert check_code(app, app.ticket(user_id), "000000").outcome == "wrong-code"
    assert app.factors.check_passkey(ticket, signed(passkey)).outcome == ""
    assert check_code(app, app.ticket(user_id), "000000").outcome == "wrong-code"


# Recovery codes


def test_each_recovery_code_works_once(app: Instance) -> None:
    """Each of the ten codes signs in once, in any case, with or without dashes."""
    user_id = app.new_user()
    _, codes = app.add_totp(user_id)
    for code in codes:
        for form in (code.lower().replace("-", ""), code):
            outcome = check_recovery_code(app, app.ticket(user_id), form).outcome
            assert outcome == ("wrong-code" if form == code else "")
    partition = app.partition(user_id)
    assert app.factors.recovery_codes_left(partition) == 0
    assert app.factors.kinds(partition) == ("totp",)


def test_one_winner_of_a_recovery_code(new_instance: Instances) -> None:
    """Of ten calls at once by two instances with the same recovery code, one gets through."""
    apps = [new_instance(), new_instance()]
    user_id = apps[0].new_user()
    _, codes = apps[0].add_totp(user_id)
    results = at_once(*[lambda app=app: check_recovery_code(app, app.ticket(user_id), codes[0]) for app in apps * 5])
    assert sum(isinstance(each, Proven) and each.outcome == "" for each in results) == 1


def test_new_codes_void_the_old(app: Instance) -> None:
    """New recovery codes replace the old ones at once; without a factor there are none."""
    user_id = app.new_user()
    with pytest.raises(NoFactor):
        app.factors.new_recovery_codes(app.session(user_id))
    _, old = app.add_totp(user_id)
    new = app.factors.new_recovery_codes(app.session(user_id))
    assert len(set(new) | set(old)) == 20
    assert check_recovery_code(app, app.ticket(user_id), old[0]).outcome == "wrong-code"
    assert check_recovery_code(app, app.ticket(user_id), new[0]).outcome == ""
    assert app.factors.recovery_codes_left(app.partition(user_id)) == 9


def test_codes_are_not_stored(app: Instance) -> None:
    """The rows hold neither a recovery code nor a seed."""
    user_id = app.new_user()
    totp, codes = app.add_totp(user_id)
    stored = msgspec.json.encode([dict(row) for row in app.partition(user_id).rows.values()], enc_hook=str).decode()
    for secret in (*codes, totp.secret, totp.byte_secret().hex(), base64.b64encode(totp.byte_secret()).decode()):
        assert secret not in stored
        assert secret.replace("-", "") not in stored


# Passkeys


def test_passkey_as_first_and_second_factor(app: Instance, passkey: Authenticator) -> None:
    """A passkey signs in without a name, with one, and after a password."""
    user_id = app.new_user()
    assert len(add_passkey(app, user_id, passkey)) == 10
    first = app.factors.check_passkey(passkey_ticket(app, user_verification=True), signed(passkey))
    assert (first.outcome, first.amr, user_of(first)) == ("", ("pop", "user", "mfa"), user_id)
    named = app.factors.check_passkey(passkey_ticket(app, user_id=user_id, user_verification=True), signed(passkey))
    assert (named.outcome, named.amr, user_of(named)) == ("", ("pop", "user", "mfa"), user_id)
    second = app.factors.check_passkey(passkey_ticket(app, user_id=user_id, amr=("pwd",)), signed(passkey))
    assert (second.outcome, second.amr, user_of(second)) == ("", ("pop", "user"), user_id)


def test_user_verification_is_required_alone(app: Instance, passkey: Authenticator) -> None:
    """Without user verification, a passkey is a second factor only."""
    user_id = app.new_user()
    passkey.flags = UP
    add_passkey(app, user_id, passkey)
    ticket = passkey_ticket(app, user_verification=True)
    assert app.factors.check_passkey(ticket, signed(passkey)).outcome == "wrong-passkey"
    second = app.factors.check_passkey(passkey_ticket(app, user_id=user_id, amr=("pwd",)), signed(passkey))
    assert (second.outcome, second.amr, user_of(second)) == ("", ("pop",), user_id)


def test_a_passkey_of_another_user(app: Instance, passkey: Authenticator) -> None:
    """A passkey does not complete the ticket of another user, nor one of a user who does not exist."""
    user_id, other = app.new_user(), app.new_user()
    add_passkey(app, user_id, passkey)
    add_passkey(app, other, Authenticator(ORIGIN, RP_ID))
    for name in (other, "5eed0000-0000-4000-8000-00000000dead"):
        for amr in ((), ("pwd",)):
            ticket = passkey_ticket(app, user_id=name, amr=amr)
            assert app.factors.check_passkey(ticket, signed(passkey)).outcome == "wrong-passkey"
    stranger = Authenticator(ORIGIN, RP_ID, user_handle=passkey.user_handle)
    assert app.factors.check_passkey(passkey_ticket(app), signed(stranger)).outcome == "wrong-passkey"


def test_the_counter_is_stored(app: Instance) -> None:
    """A passkey whose counter does not rise is refused; a synced one is accepted, and noted."""
    user_id = app.new_user()
    key = Authenticator(ORIGIN, RP_ID, count=5)
    add_passkey(app, user_id, key)
    assert app.factors.check_passkey(passkey_ticket(app), signed(key)).outcome == ""
    key.count = 5
    assert app.factors.check_passkey(passkey_ticket(app), signed(key)).outcome == "wrong-passkey"
    assert app.factors.check_passkey(passkey_ticket(app), signed(key)).outcome == ""
    synced = Authenticator(ORIGIN, RP_ID, flags=UP | UV | BE, count=5)
    add_passkey(app, user_id, synced)
    assert app.factors.check_passkey(passkey_ticket(app), signed(synced)).note == ""
    synced.count = 1
    proven = app.factors.check_passkey(passkey_ticket(app), signed(synced))
    assert (proven.outcome, proven.note) == ("", "counter-fell")


def test_credential_ids_are_unique(app: Instance, clock: Clock, passkey: Authenticator) -> None:
    """No second user, and no second factor, gets a credential id; it is free again after the factor is deleted."""
    user_id, other = app.new_user(), app.new_user()
    add_passkey(app, user_id, passkey)
    for name in (other, user_id):
        with pytest.raises(PasskeyRefused, match="registered already"):
            add_passkey(app, name, passkey)
        clock.forward(3600)
    (factor,) = app.factors.of(app.partition(user_id))
    app.factors.delete(app.session(user_id), factor.factor_id, last=True)
    assert app.credentials.owner(passkey.credential_id) is None
    add_passkey(app, other, passkey)
    assert app.factors.check_passkey(passkey_ticket(app), signed(passkey)).outcome == ""


def test_one_winner_of_a_credential_id(new_instance: Instances, passkey: Authenticator) -> None:
    """Of two users who register the same credential at once by two instances, one gets it."""
    apps = [new_instance(), new_instance()]
    users = [apps[0].new_user(), apps[0].new_user()]
    sessions = [apps[0].session(each) for each in users]
    checked = [registered(apps[0], each, passkey) for each in users]
    results = at_once(
        *[
            lambda app=app, session=session, new=new: app.factors.add_passkey(session, new, "Laptop")
            for app, session, new in zip(apps, sessions, checked, strict=True)
        ]
    )
    assert sum(isinstance(each, PasskeyRefused) for each in results) == 1


def test_an_abandoned_credential_id_is_free(app: Instance, clock: Clock, passkey: Authenticator) -> None:
    """If a process ended between the index and the factor, the credential is free again after five minutes."""
    user_id, other = app.new_user(), app.new_user()
    app.credentials.claim(passkey.credential_id, user_id, "abandoned", lambda *_: False)
    with pytest.raises(PasskeyRefused):
        add_passkey(app, other, passkey)
    assert app.factors.check_passkey(passkey_ticket(app), signed(passkey)).outcome == "wrong-passkey"
    clock.forward(300)
    add_passkey(app, other, passkey)


def test_a_former_rp_id(new_instance: Instances, passkey: Authenticator) -> None:
    """After a change of STRONGROOM_RP_ID, old passkeys are listed and do not sign in, and the user still has a
    factor."""
    app = new_instance()
    user_id = app.new_user()
    add_passkey(app, user_id, passkey)
    renamed = new_instance(rp_id="example.org")
    partition = renamed.partition(user_id)
    assert renamed.factors.kinds(partition) == ("recovery-code",)
    assert len(renamed.factors.of(partition)) == 1
    assert partition.user.has_factor
    passkey.rp_id = "example.org"
    assert renamed.factors.check_passkey(passkey_ticket(renamed), signed(passkey)).outcome == "wrong-passkey"


def test_deleted_users_leave_no_credential(app: Instance, passkey: Authenticator) -> None:
    """A deleted user's credential id leaves the index."""
    user_id = app.new_user()
    add_passkey(app, user_id, passkey)
    app.accounts.delete(user_id)
    assert app.credentials.owner(passkey.credential_id) is None
    assert app.factors.check_passkey(passkey_ticket(app), signed(passkey)).outcome == "wrong-passkey"


# Changes


def test_changes_end_other_sessions(app: Instance, passkey: Authenticator) -> None:
    """Each change of the factors ends the user's other sessions and tickets, and keeps its own session."""
    user_id = app.new_user()
    changes: list[Callable[[Any], object]] = [
        lambda session: app.factors.add_passkey(session, registered(app, user_id, passkey), "Laptop"),
        app.factors.new_recovery_codes,
        lambda session: app.factors.delete(session, app.factors.of(app.partition(user_id))[0].factor_id, last=True),
    ]
    for change in changes:
        other, session, ticket = app.session(user_id), app.session(user_id), app.ticket(user_id)
        change(session)
        assert app.is_live(session)
        assert not app.is_live(other)
        assert check_code(app, ticket, "000000").outcome == "expired"


def test_an_ended_session_changes_nothing(app: Instance) -> None:
    """A session that ends between its check and the change changes nothing."""
    user_id = app.new_user()
    app.add_totp(user_id)
    session = app.session(user_id)
    app.sessions.end(user_id, session.session_id)
    with pytest.raises(InvalidToken):
        app.factors.new_recovery_codes(session)
    assert app.factors.recovery_codes_left(app.partition(user_id)) == 10


def test_confirming_ends_other_sessions(app: Instance) -> None:
    """A confirmed app ends the user's other sessions."""
    user_id = app.new_user()
    other = app.session(user_id)
    app.add_totp(user_id)
    assert not app.is_live(other)


def test_changes_need_a_fresh_sign_in(app: Instance, clock: Clock, passkey: Authenticator) -> None:
    """A change needs a sign-in of the last five minutes, with a second factor as soon as the user has one."""
    user_id = app.new_user()
    session = app.session(user_id)
    factor_id, _ = app.factors.enroll_totp(session, "Phone")
    app.add_totp(user_id)
    (factor,) = app.factors.of(app.partition(user_id))
    password_only = app.session(user_id, "pwd")
    new = registered(app, user_id, passkey)
    old = app.session(user_id)
    calls: list[Callable[[Any], object]] = [
        lambda session: app.factors.enroll_totp(session, "Phone"),
        lambda session: app.factors.confirm_totp(session, factor_id, "000000"),
        app.factors.check_can_add,
        lambda session: app.factors.add_passkey(session, new, "Laptop"),
        app.factors.new_recovery_codes,
        lambda session: app.factors.delete(session, factor.factor_id, last=True),
    ]
    for call in calls:
        with pytest.raises(NotFresh):
            call(password_only)
    clock.forward(301)
    for call in calls:
        with pytest.raises(NotFresh):
            call(old)


def test_the_last_factor(app: Instance, passkey: Authenticator) -> None:
    """The last factor needs `last`, and goes with the recovery codes; others go without, and leave the codes."""
    user_id = app.new_user()
    app.add_totp(user_id)
    add_passkey(app, user_id, passkey)
    totp, key = app.factors.of(app.partition(user_id))
    app.factors.delete(app.session(user_id), totp.factor_id, last=False)
    assert app.factors.recovery_codes_left(app.partition(user_id)) == 10
    with pytest.raises(UnknownFactor):
        app.factors.delete(app.session(user_id), totp.factor_id, last=True)
    with pytest.raises(LastFactor):
        app.factors.delete(app.session(user_id), key.factor_id, last=False)
    app.factors.delete(app.session(user_id), key.factor_id, last=True)
    partition = app.partition(user_id)
    assert not partition.user.has_factor
    assert app.factors.recovery_codes_left(partition) == 0
    assert app.factors.kinds(partition) == ()


def test_one_of_two_last_factors_stays(new_instance: Instances, passkey: Authenticator) -> None:
    """Two deletions at once never leave a user without a factor unless the user chose that."""
    apps = [new_instance(), new_instance()]
    user_id = apps[0].new_user()
    apps[0].add_totp(user_id)
    add_passkey(apps[0], user_id, passkey)
    session = apps[0].session(user_id)
    both = apps[0].factors.of(apps[0].partition(user_id))
    results = at_once(
        *[
            lambda app=app, factor=factor: app.factors.delete(session, factor.factor_id, last=False)
            for app, factor in zip(apps, both, strict=True)
        ]
    )
    assert sum(isinstance(each, LastFactor) for each in results) == 1
    assert apps[0].partition(user_id).user.has_factor


def test_a_short_password_needs_a_factor(app: Instance) -> None:
    """A user whose password is too short on its own keeps the last factor."""
    user_id = app.new_user(short=True)
    app.add_totp(user_id)
    (factor,) = app.factors.of(app.partition(user_id))
    with pytest.raises(WeakPassword):
        app.factors.delete(app.session(user_id), factor.factor_id, last=True)
    with pytest.raises(LastFactor):
        app.factors.delete(app.session(user_id), factor.factor_id, last=False)


def test_rename(app: Instance) -> None:
    """A new label changes nothing else, ends no session, and needs the user's own factor."""
    user_id = app.new_user()
    app.add_totp(user_id)
    other = app.session(user_id)
    (factor,) = app.factors.of(app.partition(user_id))
    assert app.factors.rename(user_id, factor.factor_id, "Old phone").document.label == "Old phone"
    (renamed,) = app.factors.of(app.partition(user_id))
    assert renamed.document == msgspec.structs.replace(factor.document, label="Old phone")
    assert app.is_live(other)
    with pytest.raises(UnknownFactor):
        app.factors.rename(app.new_user(), factor.factor_id, "Mine")


def test_reset(app: Instance, passkey: Authenticator) -> None:
    """A reset removes factors, codes, counts and pending apps, and ends all sessions."""
    user_id = app.new_user()
    _, codes = app.add_totp(user_id)
    add_passkey(app, user_id, passkey)
    app.factors.enroll_totp(session := app.session(user_id), "Phone")
    check_code(app, app.ticket(user_id), "000000")
    ticket = app.ticket(user_id)
    assert app.factors.reset(user_id)
    partition = app.partition(user_id)
    assert {key for key in partition.rows if not key.startswith("s|")} <= {"failures"}
    assert not partition.user.has_factor
    assert not app.is_live(session)
    assert check_recovery_code(app, ticket, codes[0]).outcome == "expired"
    assert app.credentials.owner(passkey.credential_id) is None
    assert not app.factors.reset("5eed0000-0000-4000-8000-00000000dead")


def test_twenty_factors(app: Instance) -> None:
    """A user has at most twenty factors, and a reset removes them all."""
    user_id = app.new_user()
    for _ in range(20):
        app.add_totp(user_id)
    with pytest.raises(TooManyFactors):
        app.add_totp(user_id)
    assert app.factors.reset(user_id)
    assert app.factors.of(app.partition(user_id)) == []


# An instance that dies

Act = Callable[[Instance, ActiveSession, str], object]


def _delete_passkey(app: Instance, session: ActiveSession, _pending: str) -> None:
    factor = next(each for each in app.factors.of(app.partition(session.user.user_id)) if each.kind == "passkey")
    app.factors.delete(session, factor.factor_id, last=False)


ACTS: dict[str, Act] = {
    "enroll-totp": lambda app, session, _: app.factors.enroll_totp(session, "Tablet"),
    "confirm-totp": lambda app, session, pending: app.factors.confirm_totp(session, *pending.split()),
    "register-passkey": lambda app, session, _: app.factors.add_passkey(
        session, registered(app, session.user.user_id, Authenticator(ORIGIN, RP_ID)), "Key"
    ),
    "new-recovery-codes": lambda app, session, _: app.factors.new_recovery_codes(session),
    "delete-factor": _delete_passkey,
    "reset-factors": lambda app, session, _: app.factors.reset(session.user.user_id),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_instance_that_dies_locks_nobody_out(
    act: str, new_instance: Instances, storage_connection: str, clock: Clock
) -> None:
    """Whichever write of a change is the last one that reaches storage, the user signs in with what they have."""
    account = account_of(StorageSettings(storage_connection))
    app = new_instance()
    with run_proxy(account.table_url) as proxy:
        dying = new_instance(
            f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.blob_url};"
            f"TableEndpoint={proxy.url}"
        )
        for survivors in range(3):
            user_id, key = app.new_user(), Authenticator(ORIGIN, RP_ID)
            add_passkey(app, user_id, key)
            totp, _ = app.add_totp(user_id)
            session = app.session(user_id)
            pending, seed = app.factors.enroll_totp(session, "Tablet")
            code = pyotp.TOTP(base64.b32encode(seed).decode()).at(clock.now)
            dying.partition(user_id)  # Its key and connection are ready.
            writes: list[str] = []

            def decide(method: str, path: str, writes: list[str] = writes, survivors: int = survivors) -> str | None:
                if method != "GET":
                    writes.append(path)
                return LOSE_REQUEST if len(writes) > survivors else None

            proxy.decide = decide
            with call_limit(1), suppress(StrongroomError):
                ACTS[act](dying, session, f"{pending} {code}")
            proxy.always(None)
            clock.forward(30)
            partition = app.partition(user_id)
            kinds = app.factors.kinds(partition)
            assert bool(kinds) == partition.user.has_factor
            if "totp" in kinds:
                assert check_code(app, app.ticket(user_id), totp.at(clock.now)).outcome == ""
            if "passkey" in kinds:
                ticket = passkey_ticket(app, user_id=user_id, amr=("pwd",))
                assert app.factors.check_passkey(ticket, signed(key)).outcome == ""
            if act != "reset-factors":
                assert "totp" in kinds


def test_a_code_whose_response_is_lost(new_instance: Instances, storage_connection: str, clock: Clock) -> None:
    """If the response to the write of a right code is lost, the call that spent it still gets through, once."""
    account = account_of(StorageSettings(storage_connection))
    app = new_instance()
    user_id = app.new_user()
    totp, codes = app.add_totp(user_id)
    clock.forward(30)
    with run_proxy(account.table_url) as proxy:
        lossy = new_instance(
            f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.blob_url};"
            f"TableEndpoint={proxy.url}"
        )
        for check, code in ((check_code, totp.at(clock.now)), (check_recovery_code, codes[0])):
            ticket = app.ticket(user_id)
            lossy.partition(user_id)
            proxy.fail(LOSE_RESPONSE, method="POST")
            assert check(lossy, ticket, code).outcome == ""
            assert check(app, ticket, code).outcome == "wrong-code"


def test_begin_passkey_sign_in_makes_no_write(
    new_instance: Instances, storage_connection: str, passkey: Authenticator
) -> None:
    """It reads nothing without a name, as often for an unknown name as for a known one, and never writes."""
    account = account_of(StorageSettings(storage_connection))
    app = new_instance()
    user_id = app.new_user()
    add_passkey(app, user_id, passkey)
    name = app.partition(user_id).user.name
    with run_proxy(account.table_url) as proxy:
        watched = new_instance(
            f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.blob_url};"
            f"TableEndpoint={proxy.url}"
        )
        watched.accounts.users.id_of(name)  # Its keys are read.
        watched.tickets.issue("passkey")

        def requests(**fields: str) -> list[str]:
            proxy.requests.clear()
            begin_passkey_sign_in(
                watched.factors, watched.tickets, watched.accounts, BeginPasskeySignInRequest(**fields)
            )
            return [method for method, _ in proxy.requests]

        assert requests() == []
        known = requests(user=name)
        assert known == requests(user="nobody@example.org")
        assert set(known) == {"GET"}
        ticket = app.tickets.issue("password", user_id=user_id, amr=("pwd",))
        assert requests(ticket=ticket) == ["GET", "GET"]
