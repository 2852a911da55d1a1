"""Sessions over HTTP: sign-up, sign-in, refresh, sign-out, and what ends a session."""

from tests.identity.conftest import OTHER, PASSWORD, Caller


def test_a_user_signs_up_and_in(caller: Caller) -> None:
    """Sign-up and sign-in return the tokens of a session, and `who-am-i` shows whose it is."""
    name, first = caller.sign_up()
    assert (first["signed_in"], first["token_type"], first["expires_in"], first["amr"]) == (
        True,
        "Bearer",
        600,
        ["pwd"],
    )
    second = caller.sign_in(name)
    assert second["session_id"] != first["session_id"]
    me = caller.send("GET", "me", token=second["access_token"]).json()
    assert me["user"] == name
    assert (me["user_id"], me["session_id"]) == (second["user_id"], second["session_id"])
    assert (me["amr"], me["acr"], me["roles"]) == (["pwd"], "1", [])


def test_a_refresh(caller: Caller) -> None:
    """The current token returns the next one, the previous token the same successor, any other ends the session."""
    _, first = caller.sign_up()
    second = caller.post("sessions/refresh", refresh_token=first["refresh_token"])
    again = caller.post("sessions/refresh", refresh_token=first["refresh_token"])
    assert again["refresh_token"] == second["refresh_token"] != first["refresh_token"]
    third = caller.post("sessions/refresh", refresh_token=second["refresh_token"])
    assert third["session_id"] == first["session_id"]
    reused = caller.post("sessions/refresh", refresh_token=first["refresh_token"])
    assert reused == {"signed_in": False, "reason": "reused"}
    assert caller.post("sessions/refresh", refresh_token=third["refresh_token"])["reason"] == "expired"
    assert caller.send("GET", "me", token=third["access_token"]).status_code == 401


def test_a_new_password_ends_other_sessions(caller: Caller) -> None:
    """After a change of the password, only the session that changed it goes on."""
    name, first = caller.sign_up()
    second = caller.sign_in(name)
    fields = {"old_password": PASSWORD, "password": OTHER}
    response = caller.send("POST", "me/password", fields, token=second["access_token"])
    assert response.status_code == 204, response.text
    assert caller.send("GET", "me", token=first["access_token"]).status_code == 401
    assert caller.send("GET", "me", token=second["access_token"]).status_code == 200
    assert caller.post("sessions/refresh", refresh_token=first["refresh_token"])["reason"] == "expired"
    assert caller.post("sessions/refresh", refresh_token=second["refresh_token"])["signed_in"]
