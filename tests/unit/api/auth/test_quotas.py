"""Quotas: buckets of rows, bytes, versions; the file."""

import pytest

from assayd.api.auth.quotas import Quota, QuotaFile, Quotas
from assayd.errors import QuotaUsedUp


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def rows(limit, clock):
    return Quotas(lambda tenant: Quota(rows_per_minute=limit) if tenant == "acme" else Quota(), clock)


def test_rows_of_a_minute_are_had_at_once_and_come_back_with_time():
    clock = Clock()
    quotas = rows(600, clock)
    quotas.take_rows("acme", 400)
    quotas.take_rows("acme", 200)
    with pytest.raises(QuotaUsedUp, match="tenant acme may have rows_per_minute = 600") as got:
        quotas.take_rows("acme", 50)
    assert got.value.retry_after_s == pytest.approx(5.0)
    clock.now += 4.9
    with pytest.raises(QuotaUsedUp):
        quotas.take_rows("acme", 50)
    clock.now += 0.2
    quotas.take_rows("acme", 50)
    clock.now += 1e6
    quotas.take_rows("acme", 600)
    with pytest.raises(QuotaUsedUp):
        quotas.take_rows("acme", 1)


def test_more_than_a_minutes_rows_never_fit_so_nobody_is_told_to_come_back():
    quotas = rows(600, Clock())
    with pytest.raises(QuotaUsedUp, match="601 rows are needed at once") as got:
        quotas.take_rows("acme", 601)
    assert got.value.retry_after_s is None
    quotas.take_rows("acme", 600)


def test_one_tenants_rows_are_not_anothers():
    quotas = Quotas(lambda _: Quota(rows_per_minute=10), Clock())
    quotas.take_rows("a", 10)
    quotas.take_rows("b", 10)
    rows(10, Clock()).take_rows("free", 10**9)


def test_bytes_that_are_coming_count_with_those_that_are_there():
    quotas = Quotas(lambda _: Quota(stored_bytes=100))
    with quotas.storing("acme", 50) as one, quotas.storing("acme", 50) as two:
        one(30)
        two(20)
        with pytest.raises(QuotaUsedUp, match="stored_bytes = 100"):
            two(1)
        with quotas.storing("other", 0) as other:
            other(100)
    with quotas.storing("acme", 50) as again:
        again(50)


def test_versions_are_counted():
    quotas = Quotas(lambda _: Quota(models=2))
    quotas.check_models("acme", 1)
    with pytest.raises(QuotaUsedUp, match="models = 2") as got:
        quotas.check_models("acme", 2)
    assert got.value.metadata == {"tenant": "acme", "quota": "models", "limit": "2"}


def test_a_tenant_has_its_own_quota_over_the_default(tmp_path):
    path = tmp_path / "quotas.toml"
    path.write_text("[default]\nmodels = 3\nrows_per_minute = 9\n[tenant.acme]\nmodels = 5\nstored_bytes = 1_000\n")
    quotas = QuotaFile(path)
    assert quotas.of("other") == Quota(9, None, 3)
    assert quotas.of("acme") == Quota(9, 1000, 5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "quotas.toml: "),
        ("[acme]\nmodels = 1", "neither"),
        ("default = 3", "no table"),
        ("tenant = 3", "tenants are tables"),
        ("[tenant]\nacme = 3", "no table"),
        ("[default]\nmodel = 3", "model is none of"),
        ("[default]\nmodels = -1", "whole number"),
        ("[default]\nmodels = true", "whole number"),
        ("[default]\nmodels = 1.5", "whole number"),
        ('[tenant."../x"]\nmodels = 1', "no tenant"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, text, why):
    path = tmp_path / "quotas.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        QuotaFile(path)
