from ipaddress import ip_address, ip_network

import pytest

from models.errors import Kind
from scheduler import guard
from scheduler.errors import NameUnresolved, UrlRefused
from scheduler.guard import check_address, parse_url, resolve

SPELLINGS = [
    "",
    "photo.jpg",
    "//host/photo.jpg",
    "ftp://host/photo.jpg",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/",
    "javascript:alert(1)",
    "data:image/png;base64,AAAA",
    "http://",
    "http:///photo.jpg",
    "http://:80/",
    "http://host:0/",
    "http://host:65536/",
    "http://host:-1/",
    "http://host:80:80/",
    "http://host:http/",
    "http://user@host/",
    "http://user:password@host/",
    "http://public.example@127.0.0.1/",
    "http://public.example\\@127.0.0.1/",
    "http://127.0.0.1\\.public.example/",
    "http://host/a b",
    "http://host/a\nb",
    "http://host\r\nX-Header: 1/",
    "http://ho\tst/",
    "http://ho\x00st/",
    " http://host/",
    "http://host\u00a0/",
    "http://0x7f.0.0.1/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://2130706433/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://0.0/",
    "http://127.0.0.1.2/",
    "http://127.0.0.256/",
    "http://1.2.3.4.5.6/",
    "http://127.0.0.01/",
    "http://169.254.43518/",
    "http://%31%32%37.0.0.1/",
    "http://[::1%25lo]/",
    "http://[fe80::1%eth0]/",
    "http://[::1/",
    "http://[not-an-address]/",
    "http://ho..st/",
    "http://-host/",
    "http://host-/",
    "http://ho st/",
    "http://ho*st/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 130 + "example/",
    "http://host/" + "a" * 5000,
]
ADDRESSES = [
    "http://127.0.0.1#@public.example/",
    "http://127.0.0.1?@public.example/",
    "http://127.0.0.1/",
    "http://127.255.255.254:6379/",
    "http://\u2460\u2461\u2466.0.0.1/",  # digits in circles
    "http://127\u3002" + "0\u30020\u30021/",  # ideographic full stops
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://192.0.2.1/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:a00:1::]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
    "http://localhost/",
    "http://LOCALHOST./",
]


@pytest.mark.parametrize("url", SPELLINGS)
def test_odd_spellings_are_refused_before_anybody_is_asked(url):
    with pytest.raises(UrlRefused) as caught:
        parse_url(url)

    assert caught.value.kind is Kind.REQUEST


@pytest.mark.parametrize("url", ADDRESSES)
def test_what_is_not_public_is_refused(url):
    with pytest.raises((UrlRefused, NameUnresolved)):
        resolve(parse_url(url), ())


@pytest.mark.parametrize(
    ("url", "spelt"),
    [
        ("http://93.184.216.34/a?b=c&d=%20", "http://93.184.216.34/a?b=c&d=%20"),
        ("HTTPS://Example.COM", "https://example.com/"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://b\u00fccher.example/\u00e4.jpg", "https://xn--bcher-kva.example/%C3%A4.jpg"),
        ("https://[2606:2800:21F:CB07::1]/", "https://[2606:2800:21f:cb07::1]/"),
        ("https://example.com/a#part", "https://example.com/a"),
        (
            "https://s3.example/b/k?X-Amz-Signature=1%2F2",
            "https://s3.example/b/k?X-Amz-Signature=1%2F2",
        ),
    ],
)
def test_ordinary_urls_have_one_spelling(url, spelt):
    assert str(parse_url(url)) == spelt
    assert str(parse_url(spelt)) == spelt


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:21f::1", "64:ff9b::5db8:d822"])
def test_public_addresses_pass(address):
    check_address(ip_address(address), "host", ())


def test_the_operators_networks_pass_and_no_others():
    allowed = (ip_network("10.1.0.0/16"),)

    check_address(ip_address("10.1.2.3"), "host", allowed)
    check_address(ip_address("::ffff:10.1.2.3"), "host", allowed)

    # Teredo: allowed outside, cloud metadata inside.
    with pytest.raises(UrlRefused):
        check_address(ip_address("2001:0:a01:1::5601:5601"), "host", allowed)
    with pytest.raises(UrlRefused, match=r"10\.2\.2\.3"):
        check_address(ip_address("10.2.2.3"), "host", allowed)


def test_a_name_with_one_bad_address_among_good_ones_is_refused(monkeypatch):
    answers = [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    monkeypatch.setattr(guard.socket, "getaddrinfo", lambda *_args, **_kw: answers)

    with pytest.raises(UrlRefused, match=r"10\.0\.0\.1"):
        resolve(parse_url("http://both.example/"), ())


def test_a_name_that_nobody_knows_is_reached_nowhere():
    with pytest.raises(NameUnresolved) as caught:
        resolve(parse_url("http://no-such-host.invalid/"), ())

    assert caught.value.kind is Kind.WORLD


def test_messages_do_not_repeat_a_query_or_a_password():
    for url in ("http://host:99999/a?token=secret", "http://u:secret@host/"):
        with pytest.raises(UrlRefused) as caught:
            parse_url(url)
        assert "secret" not in str(caught.value)
