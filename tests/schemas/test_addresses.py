"""Which addresses a tenant's URL may lead to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from schemas.addresses import AllowList, is_public

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
NOT_PUBLIC = [
    "0.0.0.1",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_host_on_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_lies_within_or_is_no_host_is_not(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not AllowList().has(ip_address(text), "x.example")


def test_nothing_that_python_takes_for_private_is_public() -> None:
    special = [
        network
        for version in (4, 6)
        for network in (ip_network("0.0.0.0/0") if version == 4 else ip_network("::/0")).subnets(prefixlen_diff=12)
        if not network.network_address.is_global
    ]
    assert [str(one) for one in special if is_public(one.network_address)] == []
    assert len(special) > 100


def test_an_installation_opens_networks_and_names() -> None:
    allow = AllowList.read(" 10.1.0.0/16, CMS.internal,fd12::/16 ,192.168.7.7")
    assert allow.has(ip_address("10.1.2.3"), "any.example")
    assert allow.has(ip_address("192.168.7.7"), "any.example")
    assert allow.has(ip_address("fd12::5"), "any.example")
    assert not allow.has(ip_address("10.2.2.3"), "any.example")
    assert allow.has(ip_address("10.2.2.3"), "cms.internal")
    assert not allow.has(ip_address("10.2.2.3"), "x.cms.internal")
    assert AllowList.read("") == AllowList()


@pytest.mark.parametrize("text", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "ff02::1"])
def test_the_keys_of_a_cloud_are_never_opened(text: str) -> None:
    allow = AllowList.read("0.0.0.0/0, ::/0, metadata.internal")
    assert not allow.has(ip_address(text), "metadata.internal")


@pytest.mark.parametrize("text", ["10.1.0.1/16", "10.1.0.0/99", "127.1", "a b", "https://x", "-", "x/"])
def test_a_word_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a network nor the name of a host"):
        AllowList.read(text)
