"""What is a secret and what is not: two tables of texts, two of names."""

from __future__ import annotations

import pytest

from creatormate_resilience.redaction import REDACTED, redact, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"
KEY = "MIIEhunter2AIBAAKCAQEA7hunter2"

# The text, and what must not be left of it.
SECRETS = [
    # names and values
    ("password=hunter2", "hunter2"),
    ("PASSWORD=hunter2", "hunter2"),
    ("Password: hunter2", "hunter2"),
    ("db_password = hunter2", "hunter2"),
    ("userPassword=hunter2", "hunter2"),
    ("passwd:hunter2", "hunter2"),
    ("pwd=hunter2;", "hunter2"),
    ("pw=hunter2", "hunter2"),
    ("passphrase: hunter2", "hunter2"),
    ("client_secret=hunter2", "hunter2"),
    ("apiKey=hunter2", "hunter2"),
    ("X-Api-Key: hunter2", "hunter2"),
    ("api key: hunter2", "hunter2"),
    ("aws_secret_access_key = hun/ter+2", "ter"),
    ("AccountKey=hunter2==;EndpointSuffix=core", "hunter2"),
    ("access_token=hunter2", "hunter2"),
    ("token: hunter2", "hunter2"),
    ("tokens=hunter2", "hunter2"),
    ("session_id=hunter2", "hunter2"),
    ("JSESSIONID=hunter2", "hunter2"),
    ("signature=hunter2", "hunter2"),
    ("connection_string=hunter2", "hunter2"),
    ("connection string: hunter2", "hunter2"),
    ("ConnectionString=hunter2", "hunter2"),
    ("token=connection string: hunter2", "hunter2"),
    ("jwt=hunter2", "hunter2"),
    ("pin=1234", "1234"),
    ("otp: 123456", "123456"),
    ("cvv=123", "123"),
    ("token=1234567", "1234567"),
    ("password=12345678", "12345678"),
    ("passwords: 12345678", "12345678"),
    ("user[password]=hunter2&x=1", "hunter2"),
    ("host=db password=hunter2 user=app", "hunter2"),
    ("password => hunter2", "hunter2"),
    ("password := hunter2", "hunter2"),
    # quoted
    ('{"password": "hunter2", "page": 2}', "hunter2"),
    ('{"password":"hun\\"ter2"}', "ter2"),
    ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    ('{\\"password\\": \\"hun\\\\\\"ter2\\"}', "ter2"),
    ('{\\\\\\"password\\\\\\": \\\\\\"hunter2\\\\\\"}', "hunter2"),
    ('{"password": 12345678}', "12345678"),
    ('{"secrets": ["hunter1", "hunter2"]}', "hunter"),
    ('{"password": "hunter2', "hunter2"),
    ("{'api_key': 'hunter2'}", "hunter2"),
    ("{'token': b'hunter2'}", "hunter2"),
    ("Settings(password='hun ter2', x=1)", "ter2"),
    ("password: 'it''s hunter2'", "s hunter2"),
    # headers
    ("Authorization: Bearer hunter2.x", "hunter2"),
    ("Authorization: ApiKey hunter2", "hunter2"),
    ("Authorization: Token hunter", "hunter"),
    ("Authorization: hunter2", "hunter2"),
    ('Authorization: Digest username="hun", response="ter2", nc=1', "ter2"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=A/2026/s3, SignedHeaders=host, Signature=hunter2", "hunter2"),
    ("-H 'Proxy-Authorization: Negotiate hunter'", "hunter"),
    ("{'authorization': 'Hawk id=\"hunter2\"'}", "hunter2"),
    ("sent bearer hunterhunter", "hunterhunter"),
    ("Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("Cookie: a=hunter1; b=hunter2", "hunter"),
    ("Set-Cookie: sid=hunter2; Path=/; HttpOnly", "hunter2"),
    ("{'cookie': 'a=hunter1; b=hunter2'}", "hunter"),
    # URLs
    ("postgres://app:hunter2@db/x", "hunter2"),
    ("postgres://app:hun/ter2@db/x", "ter2"),
    ("https://hunter2@github.com/x", "hunter2"),
    ("next=https%3A%2F%2Fu%3Ahunter2%40h%2Fx", "hunter2"),
    ("GET /x?token=hunter2&page=2", "hunter2"),
    ("GET /x?token=aHVudGVyMg%3D%3D&page=2", "aHVu"),
    ("GET /x?next=%2Fy%3Ftoken%3Dhunter2%26z", "hunter2"),
    ("https://s3/x?X-Amz-Signature=hunter2&X-Amz-Date=1", "hunter2"),
    ("https://s3/x?X-Amz-Credential=AKI%2F2026", "AKI"),
    ("https://blob/x?sv=1&sig=hun%2Fter2%3D", "ter2"),
    # known by their look
    (f"got {JWT}", "dozjg"),
    (f"got {JWT[:30]}", "hbGci"),
    (f"\\n{JWT}", "dozjg"),
    (f"x%20{JWT}", "dozjg"),
    ("AKIAIOSFODNN7EXAMPLE", "OSFODNN7"),
    ("ASIAIOSFODNN7EXAMPLE", "OSFODNN7"),
    ("AIzaSyA1234567890abcdefghijklmnopqrstu", "1234567890"),
    ("ya29.a0AfH6SMBx1234567890abcdef", "AfH6SMB"),
    ("sk-proj-abcDEF123456", "abcDEF"),
    ("sk_" + "live_abcDEF1234567890", "abcDEF"),
    ("rk_" + "test_abcDEF1234567890", "abcDEF"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123", "abcdefghij"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnop", "ABCDEFG"),
    ("glpat-abcDEF1234567890abcd", "abcDEF"),
    ("xoxb" + "-123456789012-abcDEF", "abcDEF"),
    ("xoxp" + "-123456789012-abcDEF", "abcDEF"),
    ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
    ("hf_abcdefghijklmnopqrstuvwxyz", "abcdefghij"),
    ("pypi-AgEIcHlwaS5vcmcCJDEyMzQ", "AgEIc"),
    ("SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz", "abcdefghij"),
    (f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n-----END RSA PRIVATE KEY-----", "hunter2"),
    (f"-----BEGIN PRIVATE KEY-----\n{KEY}", "hunter2"),
    (f"-----BEGIN OPENSSH PRIVATE KEY-----\\n{KEY}\\n-----END", "hunter2"),
    (f"...{KEY}\n{KEY}\n-----END EC PRIVATE KEY-----", "hunter2"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\nhunter2-x\n-----END PGP PRIVATE KEY BLOCK-----", "hunter2"),
    ("to jane.doe@example.com please", "jane"),
    ("to jane.doe%40example.com", "jane"),
    ("to jane@exämple.com", "jane"),
    ("4111111111111111", "4111"),
    ("4111 1111 1111 1111", "1111"),
    ("card 42 4111-1111-1111-1111 77", "1111"),
    ("3782 822463 10005", "822463"),
    ("5555555555554444,", "5555"),
    ("41111111-1111-1111-1111-111111111111 paid with 5555555555554444", "5555"),
    ("5555555555554444 for 41111111-1111-1111-1111-111111111111", "5555"),
    ("x55555555-5555-4444-1234-123456789012", "5555-4444"),
    # SQL
    ("ALTER ROLE app PASSWORD 'hunter2'", "hunter2"),
    ("CREATE USER app IDENTIFIED BY 'hunter2'", "hunter2"),
    ("identified with caching_sha2_password by 'hunter2' x", "hunter2"),
    ("IDENTIFIED BY PASSWORD '*hunter2'", "hunter2"),
]  # fmt: skip

HARMLESS = [
    "order 12345678901234 shipped",
    "order 4111111111111112 shipped",
    "at 1741234567890 ms",
    "at 1741234567890123456 ns",
    "0.4111111111111111",
    "2026-03-01T12:34:56.789+00:00",
    "2026-03-01 12:34:56,789 INFO done",
    "0f8b1a2c-55d1-4a8e-9f3e-7c1b2a3d4e5f",
    "41111111-1111-1111-1111-111111111111",
    "first 41111111-1111-1111-1111-111111111111, then 42222222-2222-2222-2222-222222222222",
    "version 3.11.9, build 20260301.4",
    "lodash@4.17.21 installed",
    "10.1.2.3:5432 refused",
    "connect to [::1]:6379",
    "root@10.0.0.1: no route",
    "/usr/lib/python3.11/site-packages/x.py:12",
    "C:\\Users\\app\\log.txt",
    "https://api.example.com/v1/items?page=2&sort=name",
    "redis://cache.example:6379/0",
    "basic understanding of it",
    "Basic auth.",
    "the bearer of news",
    "a bearer token is missing",
    'WWW-Authenticate: Bearer realm="api"',
    "password reset requested",
    "password authentication failed for user",
    "token expired",
    "invalid token: expired",
    "Unexpected token '<' in JSON",
    "session closed",
    "session: closed by peer",
    "secretary: Jane",
    "tokenizer=bpe",
    "max_tokens=100, prompt_tokens: 12",
    '{"total_tokens": 57, "max_tokens": 4096}',
    "token_limit=4096 session_timeout=30 password_length: 12",
    "sessions=5",
    "wildcard=*.example, discarded=3, cardinality: 12",
    "spinning=3 pinned: 4",
    "monkeyJumpedOverTheFence",
    "task-force-alpha-bravo",
    "pk_customers_email_idx violated",
    "@functools.wraps(fn)",
    "key=value",
    "took 12.5 s, 3 of 5 attempts",
    "author: Jane; authored=2",
    "classname=Foo",
    "the cookie jar is full",
    "-----BEGIN CERTIFICATE-----",
]

SECRET_KEYS = [
    "password", "PASSWORD", "userPassword", "user_password_2", "db-password", "passwd", "pwd", "pw", "db_pass",
    "api key", "apikey", "apiKey", "X-Api-Key", "APIKey", "xApiKey", "accessToken", "ACCESS_TOKEN", "accesstoken",
    "csrftoken", "refresh-token", "tokens", "Authorization", "proxy-authorization", "set-cookie", "cookies", "session",
    "session_id", "sessionid", "JSESSIONID", "PHPSESSID", "private_key", "privateKey", "aws_secret_access_key",
    "clientSecret", "credentials", "signature", "X-Amz-Signature", "dsn", "sentry_dsn", "connection_string", "card",
    "cardNumber", "card_number", "creditcard", "credit-card", "cvv", "cvv2", "ssn", "pin", "user_pin", "pinCode",
    "otp", "otp_code", "auth", "basic_auth", "recovery_codes", "signing_key", "encryptionKey", "password.hash",
]  # fmt: skip
HARMLESS_KEYS = [
    "discarded", "wildcard", "cardinality", "scorecard", "dashboards", "pinned", "spin", "pin_memory", "shipping",
    "sessions", "sessions_count", "active_sessions", "obsession", "secretary", "tokenizer", "tokenization", "author",
    "authored_by", "oauth_provider", "authenticated", "classname", "compass", "passed", "pass", "pass_rate",
    "public_key", "primary_key", "cache_key", "key", "keys", "prompt_tokens_details", "first_pass", "hands_net",
]  # fmt: skip
COUNTS = ["prompt_tokens", "total_tokens", "max_tokens", "maxTokens", "token_count", "tokenLimit", "session_timeout",
          "password_length", "cookie_max_age", "otp_attempts", "api_key_usage"]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_goes_wherever_the_text_stands(text, secret):
    """Alone, inside a sentence, as a value, as a key, and from a text that was gone through before."""
    for shown in (
        redact_text(text),
        redact_text(f"first line\nerror: {text}\nlast line"),
        redact_text(redact_text(text)),
        str(redact({"detail": [text]})),
        str(redact({text: 1})),
    ):
        assert secret not in shown
        assert REDACTED in shown


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_goes_wherever_the_text_is_cut(text, secret):
    """No cut shows more than three of its characters in a row, unless they were told by the text before it."""
    parts = {secret[at : at + 4] for at in range(len(secret) - 3)}
    for limit in range(1, len(text) + 1):
        shown = redact_text(text, limit)
        assert not [part for part in parts if part in shown]
        assert redact_text(shown, limit) == shown


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text):
    """A log that hides what is no secret helps nobody."""
    assert redact_text(text) == text
    assert redact({"detail": text}) == {"detail": text}


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_secret_names_are_known_in_every_spelling(key):
    """Snake case, camel case, header case, with spaces, without any."""
    assert redact({key: "x"}) == {key: REDACTED}
    assert redact({key: [1]}) == {key: REDACTED}


@pytest.mark.parametrize("key", HARMLESS_KEYS)
def test_names_that_only_hold_the_letters_are_harmless(key):
    """Words are judged, not letters."""
    assert redact({key: "x"}) == {key: "x"}


@pytest.mark.parametrize("key", COUNTS)
def test_counts_are_told_and_texts_under_their_names_are_not(key):
    """A number of tokens is no token."""
    assert redact({key: 12}) == {key: 12}
    assert redact({key: 1.5}) == {key: 1.5}
    assert redact({key: "hunter2"}) == {key: REDACTED}
    assert redact({key: ["hunter2"]}) == {key: REDACTED}


@pytest.mark.parametrize("number", [4111111111111111, -4111111111111111, 378282246310005, 5555555555554444])
def test_whole_numbers_that_are_card_numbers_are_replaced(number):
    """As values and as keys."""
    assert redact([number, {"n": number}, {number: 1}]) == [REDACTED, {"n": REDACTED}, {REDACTED: 1}]


@pytest.mark.parametrize(
    "number", [4111111111111112, 1741234567890, 1741234567890123456, 20260301123456789, 411, 2**63]
)
def test_other_whole_numbers_are_told(number):
    """Timestamps and running numbers have a fitting check digit one time in ten; their first digits tell them apart."""
    assert redact([number])[0] != REDACTED
