"""The commonest faults of a fresh machine are found, each with the line that mends it."""

import io
import socket
from collections import namedtuple

import pytest

from workbench.models import loading
from workbench.studies import checkup
from workbench.studies.checkup import Check


def named(name: str) -> Check:
    """One check, as the machine is now."""
    return next(check for check in checkup.checkup() if check.name == name)


def test_there_are_ten_faults_that_can_be_found_and_each_has_one_line() -> None:
    checks = checkup.checkup()
    assert len({check.name for check in checks}) == len(checks) >= 10
    assert all("\n" not in check.remedy for check in checks)


def test_a_package_of_another_version_is_named_with_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named("versions").ok, named("versions").found
    wanted = ["torch>=99", "numpy>=1", "absent-package>=1", 'pandas>=99; extra == "never"']
    monkeypatch.setattr(checkup, "requires", lambda name: wanted)
    check = named("versions")
    assert not check.ok
    assert check.found.startswith("torch ")
    assert check.found.endswith("(asked for: >=99)")
    assert "pip install" in check.remedy


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_NEEDED", ("absent-package",))
    assert named("absent-package").remedy.startswith("pip install absent-package")


def test_idle_cores_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    for value, fine in (("1", False), ("2", True), ("", True), ("many", True)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert named("threads").ok is fine


def test_a_taken_port_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        monkeypatch.setattr(checkup, "PORT", port)
        assert named(f"port {port}").ok
        server.listen()
        assert not named(f"port {port}").ok


def test_a_terminal_that_cannot_write_everything_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, fine in (("ascii", False), ("utf-8", True)):
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
        assert named("terminal").ok is fine


def test_a_full_disk_and_an_old_python_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 9, 1))
    monkeypatch.setattr("sys.version_info", (3, 9, 0))
    assert not named("disk").ok
    assert not named("Python").ok


@pytest.mark.parametrize("native", [True, False])
def test_a_processor_without_bfloat16_is_said_to_be_slow(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_bfloat16", lambda: native)
    processor = named("processor")
    assert processor.ok
    assert ("no bfloat16 in hardware" in processor.found, "float32" in processor.found) == (
        not native,
        not native,
    )
