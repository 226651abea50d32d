"""What `connet-trio punch` makes of its arguments; nothing here opens a socket for longer than an error takes."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from connet_trio.cli.go_flags import FlagError, GoFlag, HelpWanted, read_flags
from connet_trio.cli.handover import as_used, child_environment
from connet_trio.cli.main import main
from connet_trio.cli.punch_flags import FLAGS, PunchOrder, read_order
from connet_trio.errors import ConfigError
from connet_trio.punch import DEFAULT_TEMPLATE, OpenHole, Template
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import PunchName

SECRET = "s3cr3t"
PEER = ["-peer", "a", "-secret", SECRET, "-local", ":5000", "-remote", "192.0.2.1:7777"]
CONTROL = ["-secret", SECRET, "-local", ":7777"]
HOLE = OpenHole(
    name=PunchName("a"), local=HostPort("", 5000), port=5000, remote=AddressPort(IPv4Address("203.0.113.8"), 5001)
)
HOLE_V6 = OpenHole(
    name=PunchName("a"), local=HostPort("::1", 0), port=41_000, remote=AddressPort(IPv6Address("2001:db8::1"), 5001)
)


def order(*arguments: str) -> PunchOrder:
    return read_order(read_flags(arguments, FLAGS))


# --- flags as Go reads them

SOME = (GoFlag(name="local", metavar="ADDR", help=""), GoFlag(name="silent", help=""))


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], []),
        (["-local", ":1"], [("local", ":1")]),
        (["--local", ":1"], [("local", ":1")]),
        (["-local=:1", "--local=a=b"], [("local", ":1"), ("local", "a=b")]),
        (["-local", "-silent"], [("local", "-silent")]),
        (["-local="], [("local", "")]),
        (["-silent", "-local", ":1"], [("silent", "true"), ("local", ":1")]),
        (["-silent=F", "-silent=1"], [("silent", "false"), ("silent", "true")]),
        (["-silent", "false", "-local", ":1"], [("silent", "true")]),
        (["more", "-local", ":1"], []),
        (["-", "-local", ":1"], []),
        (["--", "-local", ":1"], []),
    ],
)
def test_flags_are_read_as_go_does(arguments: list[str], given: list[tuple[str, str]]) -> None:
    assert read_flags(arguments, SOME) == given


@pytest.mark.parametrize(
    "arguments", [["-nope"], ["-local"], ["-silent=maybe"], ["-=x"], ["---local"], ["-nope=s3cr3t"]]
)
def test_what_go_would_not_read_is_refused_without_its_value(arguments: list[str]) -> None:
    with pytest.raises(FlagError) as caught:
        read_flags(arguments, SOME)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("flag", ["-h", "--help", "-help"])
def test_help_is_wanted_wherever_it_is_asked_for(flag: str) -> None:
    with pytest.raises(HelpWanted):
        read_flags(["-silent", flag, "-nope"], SOME)


# --- orders


def test_a_peer() -> None:
    [peer] = order(*PEER).peers
    assert (str(peer.name), peer.local, peer.control) == ("a", HostPort("", 5000), HostPort("192.0.2.1", 7777))
    assert (peer.secret, peer.time_limit) == (SECRET.encode(), None)
    assert order(*PEER).control is None


def test_a_control_node_and_its_second_address() -> None:
    control = order(*CONTROL).control
    assert control is not None
    assert (control.local, control.second, control.answers_strangers) == (HostPort("", 7777), HostPort("", 0), True)
    control = order(*CONTROL, "-second-local", "none", "-hidden").control
    assert control is not None
    assert (control.second, control.answers_strangers) == (None, False)
    control = order(*CONTROL, "-second-local", "198.51.100.2:7778").control
    assert control is not None
    assert control.second == HostPort("198.51.100.2", 7778)


def test_several_peers_have_a_port_each() -> None:
    peers = order(
        "-peer", "a,office/c", "-secret", "x", "-local", ":1,[::1]:2", "-remote", "c:3", "-timeout", "1m30s"
    ).peers
    assert [(str(peer.name), str(peer.local)) for peer in peers] == [("a", ":1"), ("office/c", "[::1]:2")]
    assert {peer.time_limit for peer in peers} == {90.0}


def test_the_last_of_several_counts() -> None:
    assert str(order(*PEER, "-peer", "c").peers[0].name) == "c"


def test_a_secret_file_is_the_secret_to_the_last_byte(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x\n")
    [peer] = order(*PEER, "-secret-file", str(tmp_path / "secret")).peers
    assert peer.secret == b"x\n"


def test_no_secret_is_in_the_words_of_an_order() -> None:
    assert SECRET not in repr(order(*PEER))
    assert SECRET not in repr(order(*CONTROL))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["-secret or -secret-file", "-local is needed"]),
        (["-peer", "a"], ["-remote", "-secret", "-local"]),
        ([*CONTROL, "-remote", "c:1"], ["-remote is for peers"]),
        ([*CONTROL, "-local", ":1,:2"], ["one -local"]),
        ([*PEER, "-peer", "aa"], ['no peer can be named "aa"']),
        ([*PEER, "-peer", "A"], ['no peer can be named "A"']),
        ([*PEER, "-peer", "a,b"], ["as many values"]),
        ([*PEER, "-peer", "a,a", "-local", ":1,:2"], ["each peer is there once"]),
        ([*PEER, "-peer", "a,c", "-local", ":1,:2", "-command", "true"], ["one for each"]),
        ([*PEER, "-exec", "true", "-command", "true"], ["exclude each other"]),
        ([*PEER, "-exec", 'un"closed'], ["-exec"]),
        ([*PEER, "-local", "5000"], ["-local"]),
        ([*PEER, "-remote", "c:99999"], ["-remote"]),
        ([*PEER, "-template", "{{.Remote}}"], ["template", "{{.RemoteAddr}}"]),
        ([*PEER, "-template-file", "/nowhere/at/all"], ["/nowhere/at/all: cannot be read"]),
        ([*PEER, "-secret-file", "/nowhere/at/all"], ["/nowhere/at/all: cannot be read"]),
        ([*PEER, "-exec", "/nowhere/at/all"], ["no such program"]),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(
    arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["punch", "-silent", *arguments]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    [line] = written.err.splitlines()
    assert line.startswith("Error: ")
    assert [text for text in expected if text not in line] == []
    assert SECRET not in line


@pytest.mark.parametrize("arguments", [["-nope"], ["-local"], [*PEER, "-arg", "{{.X}}"], [*PEER, "-timeout", "soon"]])
def test_flags_that_cannot_be_read_are_exit_code_2_and_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["punch", *arguments]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "Usage: connet-trio punch" in written.err
    assert SECRET not in written.err


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_tells_of_every_flag(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["punch", flag]) == 0
    written = capsys.readouterr()
    assert [known.name for known in FLAGS if f"--{known.name}" not in written.out] == []
    assert written.err == ""


def test_the_version_begins_with_that_of_netpunch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["punch", "-version"]) == 0
    assert capsys.readouterr().out.startswith("0.2-")


# --- output


def test_the_line_of_netpunch() -> None:
    template = Template.parse(DEFAULT_TEMPLATE)
    label = "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT:"
    assert template.expand(HOLE) == f"{label} :5000 n/a 5000 203.0.113.8:5001 203.0.113.8 5001\n"
    assert template.expand(HOLE_V6) == f"{label} [::1]:0 ::1 0 [2001:db8::1]:5001 2001:db8::1 5001\n"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain } text }}", "plain } text }}"),
        ("{{.RemoteIP}}{{ .RemotePort }}", "203.0.113.85001"),
        ("a {{- .LocalPort -}} \n b", "a5000b"),
        ("remote {{.RemoteIP}}\nlport {{.LocalPort}}\n", "remote 203.0.113.8\nlport 5000\n"),
    ],
)
def test_templates_expand_as_in_go(text: str, expanded: str) -> None:
    assert Template.parse(text).expand(HOLE) == expanded


@pytest.mark.parametrize(
    "text", ["{{", "{{.Foo}}", "{{LocalIP}}", "{{if .LocalIP}}", "{{.LocalIP | len}}", "{{}}", "{{-.LocalIP}}"]
)
def test_other_actions_of_go_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Template.parse(text)


def test_text_wins_over_a_template_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{{.RemoteIP}}")
    both = order(*PEER, "-template-file", str(tmp_path / "file"), "-template", "text")
    file = order(*PEER, "-template-file", str(tmp_path / "file"))
    assert (both.template.expand(HOLE), file.template.expand(HOLE)) == ("text", "203.0.113.8")


def test_arguments_keep_their_order() -> None:
    made = order(
        *PEER,
        "-raw",
        "{{.X}}",
        "-fields",
        "{{.LocalPort}}  {{.RemotePort}}",
        "-arg",
        "--to={{.RemoteIP}} x",
        "-raw",
        "",
    )
    words = [word for argument in made.arguments for word in argument.expand(HOLE)]
    assert words == ["{{.X}}", "5000", "5001", "--to=203.0.113.8 x", ""]


def test_a_child_finds_the_addresses_in_its_environment_and_the_secret_nowhere() -> None:
    environment = child_environment(as_used(HOLE_V6), {"PATH": "/bin", "MINE": SECRET}, SECRET.encode())
    assert environment == {
        "PATH": "/bin",
        "PUNCH_PEER": "a",
        "PUNCH_LOCAL_ADDR": "[::1]:41000",
        "PUNCH_LOCAL_IP": "::1",
        "PUNCH_LOCAL_PORT": "41000",
        "PUNCH_REMOTE_ADDR": "[2001:db8::1]:5001",
        "PUNCH_REMOTE_IP": "2001:db8::1",
        "PUNCH_REMOTE_PORT": "5001",
    }


def test_a_missing_template_file_is_an_error_of_configuration() -> None:
    with pytest.raises(ConfigError):
        order(*PEER, "-template-file", "/nowhere")
