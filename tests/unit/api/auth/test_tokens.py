"""Tokens: known, foreign, expired; the file and its changes."""

from datetime import UTC, datetime, timedelta

import pytest

from assayd.api.auth import watched
from assayd.api.auth.bearer import Bearer
from assayd.api.auth.identity import ANYBODY, Identity, Role
from assayd.api.auth.tokens import TokenFile, new_token
from assayd.errors import Unauthenticated


@pytest.fixture(autouse=True)
def changes_are_seen_at_once(monkeypatch):
    monkeypatch.setattr(watched.Watched.__init__, "__defaults__", (0.0,))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens"


def known(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return TokenFile(path)


def test_a_token_is_that_of_its_tenant_with_its_roles(path):
    (acme, a), (other, b) = new_token("acme", ["upload", "explain"]), new_token("other", ["admin"])
    tokens = known(path, "# who", a + "  # the pipeline", "", b)
    assert tokens.identify(acme) == Identity("acme", frozenset({Role.EXPLAIN, Role.UPLOAD}))
    assert tokens.identify(other) == Identity("other", frozenset({Role.ADMIN}))


def test_the_file_does_not_hold_the_token(path):
    token, line = new_token("acme", ["explain"])
    assert token.split("_", 2)[2] not in line
    assert new_token("acme", ["explain"])[1] != line


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
        lambda t: t + "A",
        lambda t: t[:-1],
        str.upper,
        lambda t: t.replace("assay_", "assay-"),
        lambda _: "",
        lambda t: t + "\n",
    ],
)
def test_what_is_nearly_a_token_is_none(path, change):
    token, line = new_token("acme", ["explain"])
    with pytest.raises(Unauthenticated, match="doesn't know the token"):
        known(path, line).identify(change(token))


def test_the_secret_of_another_is_foreign(path):
    (one, a), (two, b) = new_token("acme", ["explain"]), new_token("acme", ["explain"])
    with pytest.raises(Unauthenticated):
        known(path, a, b).identify(one[:23] + two[23:])
    with pytest.raises(Unauthenticated):
        known(path, a).identify(two)


def test_a_token_expires(path):
    past, past_line = new_token("acme", ["explain"], datetime.now(UTC) - timedelta(minutes=1))
    coming, coming_line = new_token("acme", ["explain"], datetime.now(UTC) + timedelta(days=1))
    tokens = known(path, past_line, coming_line)
    assert tokens.identify(coming).tenant == "acme"
    with pytest.raises(Unauthenticated, match="expired at"):
        tokens.identify(past)


def test_a_date_is_an_expiry_too(path):
    token, line = new_token("acme", ["explain"])
    assert known(path, line + " 2999-01-01").identify(token).tenant == "acme"
    with pytest.raises(Unauthenticated, match="expired at 2001-01-01T00:00:00Z"):
        known(path, line + " 2001-01-01").identify(token)


def test_a_line_that_goes_or_comes_is_seen(path):
    (one, a), (two, b) = new_token("acme", ["explain"]), new_token("acme", ["explain"])
    tokens = known(path, a)
    path.write_text(f"{b}\n{'#' * 9}\n")
    assert tokens.identify(two)
    with pytest.raises(Unauthenticated):
        tokens.identify(one)


@pytest.mark.parametrize("broken", ["nonsense", None])
def test_a_file_that_breaks_changes_nothing_until_it_is_whole_again(path, broken, caplog):
    (one, a), (two, b) = new_token("acme", ["explain"]), new_token("acme", ["explain"])
    tokens = known(path, a)
    path.unlink()
    if broken:
        path.write_text(broken)
    for _ in range(3):
        assert tokens.identify(one)
    assert len([r for r in caplog.records if r.message == "kept what was read before"]) == 1
    path.write_text(b)
    assert tokens.identify(two)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a b c", "a line is ID TENANT"),
        ("{id} ../up explain {hash}", "no tenant"),
        ("{id} Acme explain {hash}", "no tenant"),
        ("{id} acme explain,root {hash}", "roles are some of"),
        ("{id} acme explain md5:00:00", "a line is ID TENANT"),
        ("{id} acme explain {hash} soon", "soon"),
        ("{line}\n{line}", "twice"),
    ],
)
def test_a_line_that_is_wrong_is_named(path, line, why):
    _, whole = new_token("acme", ["explain"])
    number, _, _, hashed = whole.split()
    with pytest.raises(ValueError, match=why) as got:
        known(path, "# first", line.format(id=number, hash=hashed, line=whole))
    assert f"{path}, line " in str(got.value)


@pytest.mark.parametrize("tenant", ["..", ".", "", "a/b", "/etc", "a" * 64, "A", "a b", "-a", "a\n"])
def test_a_tenant_is_a_safe_name(tenant):
    with pytest.raises(ValueError, match="is no tenant"):
        new_token(tenant, ["explain"])


@pytest.mark.parametrize("roles", [[], [""], ["root"], ["explain", "x"]])
def test_roles_are_known_ones(roles):
    with pytest.raises(ValueError, match="roles are some of"):
        new_token("acme", roles)


def test_a_call_shows_its_token_once(path):
    token, line = new_token("acme", ["explain"])
    bearer = Bearer(known(path, line))
    assert bearer.identify([("x", "y"), ("authorization", f"Bearer {token}")]).tenant == "acme"
    assert bearer.identify([("authorization", f"bearer  {token} ")]).tenant == "acme"
    good = ("authorization", f"Bearer {token}")
    values = (token, f"Basic {token}", "Bearer ", "Bearer é", "Bearer " + "a" * 9000, "Bearer a.b.c", b"\xff")
    for shown in ([], [good, good], *([("authorization", value)] for value in values)):
        with pytest.raises(Unauthenticated):
            bearer.identify(shown)


def test_without_files_everybody_may_everything():
    assert Bearer().identify([]) is ANYBODY
    assert (ANYBODY.tenant, ANYBODY.roles) == ("default", frozenset(Role))
