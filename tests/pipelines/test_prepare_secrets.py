import pytest

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.secrets import SecretFinder, SecretKind

# Made up here, and put together so that nothing that looks for leaked secrets takes this file for one.
AWS = "AKIA" + "IOSFODNN7" + "EXAMPLE"
GITHUB = "ghp_" + "a1B2c3D4e5F6" * 3
DISCORD = "MTE4NTcxMTA0NDQ5Mzc2MjU3" + "." + "GabcDe" + "." + "x_y-Z0123456789abcdefghijklmnopqrstuvw"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.fixture(scope="module")
def finder():
    return SecretFinder(("US", "GB", "DE"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ann.lee+x@mail.example.org now", "write to [e-mail address] now"),
        ("call +49 30 901820 tonight", "call [phone number] tonight"),
        ("call (212) 555-2368 ok", "call [phone number] ok"),
        ("my ip is 93.184.216.34", "my ip is [network address]"),
        ("mac 00:1b:44:11:3a:b7", "mac [network address]"),
        ("i live at 12 Old Mill Road, come over", "i live at [street address], come over"),
        ("Hauptstraße 12 um acht", "[street address] um acht"),
        (f"key {AWS} works", "key [secret] works"),
        (f"use {GITHUB}", "use [secret]"),
        (f"bot token {DISCORD}", "bot token [secret]"),
        (f"cookie {JWT} expired", "cookie [secret] expired"),
        ("password: hunter2!", "password: [secret]"),
        ("api_key = zX81kk9Q", "api_key = [secret]"),
        ("try kJ8sLq2Zp0XvB7nM4wRt6YcE", "try [secret]"),
        ("a@b.example and b@c.example", "[e-mail address] and [e-mail address]"),
    ],
)
def test_secrets_are_masked(finder, text, masked):
    assert finder.mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "the password is wrong again",
        "ubuntu 8.04.3 and 10.04",
        "kernel 2.6.31-14-generic",
        "127.0.0.1 and 192.168.1.10 are at home",
        "in 2019, 1234567890 people",
        "pi is 3.14159265358979",
        "https://example.org/a/KJ8sLq2Zp0XvB7nM4wRt6YcE?x=1",
        "hahahahahahahahahahahahahahaha",
        "<@123456789012345678> look <:wave:123456789012345678>",
        "i want my secret: tea",
        "see you at 10:30:00",
        "@everyone hi",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "this-is-a-very-long-package-name-for-linux2",
    ],
)
def test_other_things_are_left_alone(finder, text):
    masked = finder.mask(text)
    assert (masked.text, masked.kinds) == (text, ())


def test_kinds_are_told_in_order(finder):
    assert finder.mask("a@b.example +49 30 901820").kinds == (SecretKind.EMAIL, SecretKind.PHONE)


@given(st.text(max_size=200))
def test_masking_never_fails_and_twice_is_as_good_as_once(text):
    finder = SecretFinder(())
    once = finder.mask(text).text
    assert finder.mask(once).text == once
